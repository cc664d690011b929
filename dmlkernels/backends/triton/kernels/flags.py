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
def set_flag(flags_p, row, column, num_columns, has_grad):
    """Of the area that begins at, or holds, this row and column."""
    bit = column % WORD_COLUMNS // FLAG_COLUMNS
    tl.atomic_or(flags_p + word_of(row, column, num_columns), 1 << bit, mask=has_grad, sem="relaxed")


@triton.jit
def any_flag(flags_p, row, column, num_columns, COLUMNS: tl.constexpr):
    """Of the areas from this row and column on that so many columns, no more than a word's, lie in."""
    AREAS: tl.constexpr = triton.cdiv(COLUMNS, FLAG_COLUMNS)
    bits = tl.load(flags_p + word_of(row, column, num_columns)) >> (column % WORD_COLUMNS // FLAG_COLUMNS)
    return (bits & (2**AREAS - 1)) != 0
