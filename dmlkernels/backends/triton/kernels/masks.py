"""Masks of a tile's pairs, and which tiles need any.

Most tiles hold negatives only, and nothing of a border: such a tile is plain, and its epilogue masks nothing. Labels
decide which are not. They are looked at for 32 tiles at a time, a bit each.
"""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton.kernels.blocks import ignored_label, padded_group

WINDOW = tl.constexpr(32)  # tiles


@triton.constexpr_function
def highest_label(dtype):
    return 2 ** (dtype.primitive_bitwidth - 1) - 1


@triton.jit
def label_range(label, valid):
    """Lowest and highest of the labels that count, the wrong way round if none does."""
    HIGHEST: tl.constexpr = highest_label(label.dtype)
    low = tl.min(tl.where(valid, label, HIGHEST), 0)
    return low, tl.max(tl.where(valid, label, -HIGHEST), 0)


@triton.jit
def place_range(first, GROUP: tl.constexpr, SIZE: tl.constexpr):
    """The same of a block of columns whose labels are their numbers."""
    return first // padded_group(GROUP), (first + SIZE - 1) // padded_group(GROUP)


@triton.jit
def as_bits(hit):
    """Of (WINDOW,) flags, 0 or 1."""
    return tl.sum(hit << tl.arange(0, WINDOW), 0)


@triton.jit
def tiles_of_labels(label, valid, start, GROUP: tl.constexpr, N: tl.constexpr):
    """Bits of the tiles of N columns from ``start`` on that hold one of these classes, where column j has class j."""
    ahead = label * padded_group(GROUP) - start
    tile = tl.where(valid & (ahead >= 0), ahead // N, WINDOW)
    hit = tile[:, None] == tl.arange(0, WINDOW)[None, :]
    return as_bits(tl.max(hit.to(tl.int32), 0))


@triton.jit
def tiles_in_range(labels_p, start, count, low, high, GROUP: tl.constexpr, COLUMNS: tl.constexpr, N: tl.constexpr):
    """Bits of the tiles of N places from ``start`` on with a label from ``low`` to ``high``, or a column to ignore."""
    place = start + tl.arange(0, WINDOW)[:, None] * N + tl.arange(0, N)[None, :]
    group = place // padded_group(GROUP)
    inside = group < count // GROUP
    label = tl.load(labels_p + group, mask=inside, other=0)
    hit = (label >= low) & (label <= high)
    if COLUMNS:
        hit = hit | (label == ignored_label(labels_p.dtype.element_ty))
    return as_bits(tl.max((hit & inside).to(tl.int32), 1))


@triton.jit
def masks_of(row_label, row_valid, column_label, column_valid, MATCH: tl.constexpr):
    """Of same-class and of different-class pairs; both are all pairs for a statistic without labels. Each argument
    broadcasts along the other side."""
    pairs = row_valid & column_valid
    if MATCH:
        same = row_label == column_label
        return pairs & same, pairs & (same == 0)
    else:
        return pairs, pairs


@triton.jit
def masks_of_one(label, valid, start, count, N: tl.constexpr):
    """Where column j has class j: the mask of positives, that of columns that are there, and which rows have their
    positive in the tile.

    One comparison a score: for conditions that are put together, as above, compilers pack bits. What a row that does
    not count holds of negatives is not asked for.
    """
    column = tl.arange(0, N)[None, :]
    at = tl.where(valid, label - start, N)
    return column == at[:, None], column < count - start, (at >= 0) & (at < N)


@triton.jit
def row_segment(place, borders):
    """Which of the joined parts a row is in; ``borders`` are (rows, first columns, second columns)."""
    return (place >= borders[0]).to(tl.int32)


@triton.jit
def column_segment(place, borders):
    return (place >= borders[1]).to(tl.int32) + (place >= borders[2]).to(tl.int32)
