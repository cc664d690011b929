"""Memory of vectors in parts: see kernels/parts.py."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.backends.pairs import Pairs


def empty_parts(pairs: Pairs, parts: int, memory: Tensor | None = None) -> tuple[Tensor, Tensor] | None:
    """Memory of so many parts of rows and of columns, which begin with the rows if ``within``: (count, parts * D)
    float16 each. None if there are none.

    Args:
        memory: of the gradient of the columns, for their parts: each lies where its own gradient will be, if that is
            large enough.
    """
    if parts == 0:
        return None
    numbers, columns = parts * pairs.dim, None
    if pairs.within:
        points = pairs.rows.new_empty(pairs.num_rows + pairs.num_columns, numbers, dtype=torch.float16)
        return points[: pairs.num_rows], points
    if memory is not None and memory.itemsize >= parts * torch.float16.itemsize:
        columns = memory.view(torch.float16)[:, :numbers]
    if columns is None:
        columns = pairs.rows.new_empty(pairs.num_columns, numbers, dtype=torch.float16)
    return pairs.rows.new_empty(pairs.num_rows, numbers, dtype=torch.float16), columns
