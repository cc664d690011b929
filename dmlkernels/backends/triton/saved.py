"""What forward keeps for backward, in one tensor: norms and weights of all vectors, small labels, the order of points,
and for a sparse statistic which tiles act. Programs of forward count in it, too, what they have done.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from dmlkernels.backends.pairs import Shape
from dmlkernels.backends.triton.plan import REMEMBERED

PADDING = 128  # zeros behind norms and other values of vectors, so that a whole tile of them can be read
WIDE = torch.float64  # of the closed form
COUNTED_ROWS = 16  # the fewest in a block
FLAG_ROWS, FLAG_COLUMNS, WORD_COLUMNS = 64, 32, 32 * 32  # scores that a bit, and columns that a word, is for


class Saved(NamedTuple):
    """Parts of the tensor, which share its memory. Each begins at a multiple of 128 numbers, for aligned loads."""

    rows: Tensor | None  # (1 + row values, pitch): reciprocal norms and what the caller gave; None if ``within``
    columns: Tensor  # (1 or 2, pitch): reciprocal norms, and weights if any; of rows and columns if ``within``
    labels: Tensor | None  # (R,) or, if ``within``, (R + C,) int32, and more behind them
    order: Tensor | None  # likewise (R,), of points that meet each other: where each of the sorted ones came from
    flags: Tensor | None  # int32
    counters: Tensor | None = None  # int32, for forward: splits done of each block of rows, then such blocks done
    cleared: Tensor | None = None  # flags and counters, which are zeros before forward


def pitch_of(count: int) -> int:
    """Numbers that values of so many vectors take up with the zeros behind them. A multiple of 128, so that kernels
    see the same alignment whatever the batch."""
    return _rounded(count) + PADDING


def saved_size(shape: Shape) -> int:
    """Numbers of what ``split`` takes apart. Of symbols, too, for the compiler."""
    rows, columns, *words = _sizes(shape)
    return rows + columns + -(-4 * sum(map(_rounded, words)) // shape.dtype.itemsize)


def split(shape: Shape, saved: Tensor) -> Saved:
    """Take the tensor apart."""
    numbers, words, num_flags = _places(shape)
    rows, columns, rest = saved.split_with_sizes(numbers)
    labels, order, cleared = rest.view(torch.int32).split_with_sizes(words)
    flags, counters = cleared.split_with_sizes(num_flags) if num_flags[0] else (None, cleared)
    return Saved(
        rows.view(1 + shape.statistic.num_row_values, -1) if numbers[0] else None,
        columns.view(1 + shape.statistic.reads_weights, -1),
        labels if words[0] else None,
        order if words[1] else None,
        flags,
        counters,
        cleared,
    )


def has_small_labels(shape: Shape) -> bool:
    """Whether rows have labels that can be told apart in 32 bits: numbers of columns, or ranks among points."""
    given = shape.statistic.reads_labels and shape.has_column_labels
    return shape.within or (shape.has_row_labels and not given)


@lru_cache(maxsize=REMEMBERED)
def _places(shape: Shape) -> tuple[list[int], list[int], list[int]]:
    """Numbers of rows, of columns and of the rest; words of labels, of order and of what is cleared; and of that, of
    flags and of counters."""
    rows, columns, *words = _sizes(shape)
    labels, order, flags, counters = map(_rounded, words)
    rest = saved_size(shape) - rows - columns
    return [rows, columns, rest], [labels, order, flags + counters], [flags, counters]


def _sizes(shape: Shape) -> tuple[int, int, int, int, int, int]:
    """Of rows, columns, labels, order, flags, counters."""
    statistic, count = shape.statistic, shape.num_rows
    labels = count if has_small_labels(shape) else 0
    blocks = -(-count * statistic.views // COUNTED_ROWS) + 1
    if shape.within:
        points = count + shape.num_columns
        return 0, (1 + statistic.reads_weights) * pitch_of(points), points, count, _num_flags(shape), blocks
    rows = (1 + statistic.num_row_values) * pitch_of(count * statistic.views)
    return rows, (1 + statistic.reads_weights) * pitch_of(shape.num_columns), labels, 0, _num_flags(shape), blocks


def _num_flags(shape: Shape) -> int:
    """Words of flags."""
    columns = shape.num_columns + (shape.num_rows if shape.within else 0)
    return -(-shape.num_rows // FLAG_ROWS) * -(-columns // WORD_COLUMNS) if shape.statistic.sparse else 0


def _rounded(count: int) -> int:
    return -(-count // 128) * 128


def closed_size(shape: Shape) -> int:
    """Numbers of what ``split_closed`` takes apart."""
    return sum(_closed_sizes(shape)) * WIDE.itemsize // shape.dtype.itemsize


def split_closed(shape: Shape, saved: Tensor) -> tuple[Saved, Tensor]:
    """Take what the closed form keeps apart, all float64 but small labels: the parts above, and the mean of the unit
    columns above the matrix of their products, (D + 1, D)."""
    rows, columns, labels, sums = saved.view(WIDE).split(_closed_sizes(shape))
    parts = Saved(rows[None], columns[None], labels.view(torch.int32)[: shape.num_rows], None, None)
    return parts, sums.view(shape.dim + 1, shape.dim)


def _closed_sizes(shape: Shape) -> tuple[int, int, int, int]:
    """Of rows, columns, labels and sums."""
    rows = pitch_of(shape.num_rows)
    return rows, pitch_of(shape.num_columns), rows // 2, (shape.dim + 1) * shape.dim
