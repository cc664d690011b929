"""What forward keeps for backward: the reciprocal norms of all vectors and, of a sparse statistic, flags of tiles."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.backends.pairs import Pairs

PADDING = 128  # zeros behind norms and other values of vectors, so that a whole tile of them can be read
FLAG_ROWS, FLAG_COLUMNS, WORD_COLUMNS = 64, 32, 32 * 32  # scores that a bit, and columns that a word, is for


def saved_size(pairs: Pairs) -> int:
    """Numbers of what ``split`` takes apart."""
    if not pairs.statistic.sparse:
        return _num_norms(pairs)
    columns = pairs.num_columns + (pairs.num_rows if pairs.within else 0)
    words = -(-pairs.num_rows // FLAG_ROWS) * -(-columns // WORD_COLUMNS)
    return _num_norms(pairs) + -(-4 * words // pairs.dtype.itemsize)


def split(pairs: Pairs, saved: Tensor) -> tuple[Tensor, Tensor | None]:
    """Reciprocal norms, and the flags as 32-bit words. Both share memory with ``saved``."""
    norms = _num_norms(pairs)
    return saved[:norms], saved[norms:].view(torch.int32) if pairs.statistic.sparse else None


def _num_norms(pairs: Pairs) -> int:
    return pairs.num_rows * pairs.statistic.views + pairs.num_columns + PADDING
