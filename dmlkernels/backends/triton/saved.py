"""What forward keeps for backward, in one tensor: norms and weights of all vectors, small labels, the order of points,
and for a sparse statistic which tiles act. Programs of forward count in it, too, what they have done.
"""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from dmlkernels.backends.pairs import Pairs

PADDING = 128  # zeros behind norms and other values of vectors, so that a whole tile of them can be read
WIDE = torch.float64  # of the closed form
COUNTED_ROWS = 16  # the fewest in a block
FLAG_ROWS, FLAG_COLUMNS, WORD_COLUMNS = 64, 32, 32 * 32  # scores that a bit, and columns that a word, is for


class Saved(NamedTuple):
    """Parts of the tensor, which share its memory. Each begins at a multiple of 128 numbers, for aligned loads."""

    rows: Tensor | None  # (1 + row values, pitch): reciprocal norms and what the caller gave; None if ``within``
    columns: Tensor  # (1 or 2, pitch): reciprocal norms, and weights if any; of rows and columns if ``within``
    labels: Tensor | None  # (R,) or, if ``within``, (R + C,) int32
    order: Tensor | None  # (R,) int32, of points that meet each other: where each of the sorted ones came from
    flags: Tensor | None  # int32
    counters: Tensor | None = None  # int32, of each block of rows, for forward alone: how many splits are done
    cleared: Tensor | None = None  # flags and counters, which are zeros before forward


def pitch_of(count: int) -> int:
    """Numbers that values of so many vectors take up with the zeros behind them. A multiple of 128, so that kernels
    see the same alignment whatever the batch."""
    return _rounded(count) + PADDING


def _num_flags(pairs: Pairs) -> int:
    """Words of flags."""
    columns = pairs.num_columns + (pairs.num_rows if pairs.within else 0)
    return -(-pairs.num_rows // FLAG_ROWS) * -(-columns // WORD_COLUMNS) if pairs.statistic.sparse else 0


def saved_size(pairs: Pairs) -> int:
    """Numbers of what ``split`` takes apart."""
    rows, columns, *words = _sizes(pairs)
    return rows + columns + -(-4 * sum(map(_rounded, words)) // pairs.dtype.itemsize)


def split(pairs: Pairs, saved: Tensor) -> Saved:
    """Take the tensor apart."""
    rows, columns, *counts = _sizes(pairs)
    words = saved[rows + columns :].view(torch.int32)
    starts = list(accumulate(map(_rounded, counts), initial=0))
    of_labels, of_order, of_flags, counters = (
        words[start : start + count] if count else None for start, count in zip(starts, counts, strict=False)
    )
    return Saved(
        saved[:rows].view(1 + pairs.statistic.num_row_values, -1) if rows else None,
        saved[rows : rows + columns].view(1 + pairs.statistic.reads_weights, -1),
        of_labels,
        of_order,
        of_flags,
        counters,
        words[starts[2] : starts[4]],
    )


def has_small_labels(pairs: Pairs) -> bool:
    """Whether rows have labels that can be told apart in 32 bits: numbers of columns, or ranks among points."""
    given = pairs.statistic.reads_labels and pairs.column_labels is not None
    return pairs.within or (pairs.row_labels is not None and not given)


def _sizes(pairs: Pairs) -> tuple[int, int, int, int, int, int]:
    """Of rows, columns, labels, order, flags, counters."""
    statistic, count = pairs.statistic, pairs.num_rows
    labels = count if has_small_labels(pairs) else 0
    blocks = -(-count * statistic.views // COUNTED_ROWS)
    if pairs.within:
        points = count + pairs.num_columns
        return 0, (1 + statistic.reads_weights) * pitch_of(points), points, count, _num_flags(pairs), blocks
    rows = (1 + statistic.num_row_values) * pitch_of(count * statistic.views)
    return rows, (1 + statistic.reads_weights) * pitch_of(pairs.num_columns), labels, 0, _num_flags(pairs), blocks


def _rounded(count: int) -> int:
    return -(-count // 128) * 128


def closed_size(pairs: Pairs) -> int:
    """Numbers of what ``split_closed`` takes apart."""
    return sum(_closed_sizes(pairs)) * WIDE.itemsize // pairs.dtype.itemsize


def split_closed(pairs: Pairs, saved: Tensor) -> tuple[Saved, Tensor]:
    """Take what the closed form keeps apart, all float64 but small labels: the parts above, and the mean of the unit
    columns above the matrix of their products, (D + 1, D)."""
    rows, columns, labels, sums = saved.view(WIDE).split(_closed_sizes(pairs))
    parts = Saved(rows[None], columns[None], labels.view(torch.int32)[: pairs.num_rows], None, None)
    return parts, sums.view(pairs.dim + 1, pairs.dim)


def _closed_sizes(pairs: Pairs) -> tuple[int, int, int, int]:
    """Of rows, columns, labels and sums."""
    rows = pitch_of(pairs.num_rows)
    return rows, pitch_of(pairs.num_columns), rows // 2, (pairs.dim + 1) * pairs.dim
