"""Which areas of the matrix of scores have a slope: a bit each, which forward sets and backward reads.

An area is as large as most tiles, or larger; bits lie along the columns, in words of 32. Setting one is an atomic "or",
whose result has no order.
"""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton import saved

FLAG_ROWS, FLAG_COLUMNS = tl.constexpr(saved.FLAG_ROWS), tl.constexpr(saved.FLAG_COLUMNS)
WORD_COLUMNS = tl.constexpr(saved.WORD_COLUMNS)


@triton.jit
def word_of(row, column, num_columns):
    return (row // FLAG_ROWS).to(tl.int64) * tl.cdiv(num_columns, WORD_COLUMNS) + column // WORD_COLUMNS


@triton.jit
def set_flags(flags_p, row, column, num_rows, num_columns, has_grad, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Of the areas that a tile of so many rows and columns, which begins at these, lies in."""
    bits = bits_of(COLUMNS) << (column % WORD_COLUMNS // FLAG_COLUMNS)
    for first in tl.static_range(0, ROWS, FLAG_ROWS):
        word_p = flags_p + word_of(row + first, column, num_columns)
        tl.atomic_or(word_p, bits, mask=has_grad & (row + first < num_rows), sem="relaxed")


@triton.constexpr_function
def bits_of(columns):
    """As many bits as areas side by side hold so many columns."""
    return 2 ** -(-columns // saved.FLAG_COLUMNS) - 1


@triton.jit
def any_flag(flags_p, row, column, num_columns, COLUMNS: tl.constexpr):
    """Of the areas from this row and column on that so many columns, no more than a word's, lie in."""
    bits = tl.load(flags_p + word_of(row, column, num_columns)) >> (column % WORD_COLUMNS // FLAG_COLUMNS)
    return (bits & bits_of(COLUMNS)) != 0
