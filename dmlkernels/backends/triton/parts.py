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
    numbers = parts * pairs.dim
    rows = pairs.num_rows + (pairs.num_columns if pairs.within else 0)
    of_rows = pairs.rows.new_empty(rows, numbers, dtype=torch.float16)
    if pairs.within:
        return of_rows[: pairs.num_rows], of_rows
    if memory is not None and memory.itemsize >= parts * torch.float16.itemsize:
        return of_rows, memory.view(torch.float16)[:, :numbers]
    return of_rows, pairs.rows.new_empty(pairs.num_columns, numbers, dtype=torch.float16)
