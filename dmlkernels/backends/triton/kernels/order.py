"""Points that meet each other, sorted by class and put in that order, with the columns that they meet behind them."""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton.kernels.blocks import ignored_label
from dmlkernels.backends.triton.kernels.functions import cut_to_tf32
from dmlkernels.backends.triton.kernels.norms import add_squares, clear, load_weights, reciprocal_of
from dmlkernels.backends.triton.kernels.parts import store_parts
from dmlkernels.backends.triton.kernels.scalars import loop_bound


@triton.jit
def label_at(label_p, more_p, place, num_points, total):
    """Labels of points and then of columns, which are numbered unless they have labels."""
    is_point = place < num_points
    label = tl.load(label_p + place, mask=is_point, other=0)
    more = (place - num_points).to(label.dtype)
    if more_p is not None:
        more = tl.load(more_p + place - num_points, mask=(place >= num_points) & (place < total), other=0)
    return tl.where(is_point, label, more)


@triton.jit
def place_of(label_p, more_p, i, label, num_points, total, border, M: tl.constexpr, N: tl.constexpr):
    """Where sorted points lie: by segment, which ``border`` parts, by class, by number. And how many labels are lower
    than theirs: 32-bit numbers, equal where the labels are."""
    lower = tl.zeros([M], tl.int32)
    place = tl.zeros([M], tl.int32)
    for start in tl.range(0, loop_bound(total), N):
        j = start + tl.arange(0, N)
        other = label_at(label_p, more_p, j, num_points, total)
        less = (other[None, :] < label[:, None]) & (j < total)[None, :]
        lower += tl.sum(less.to(tl.int32), 1)
        before = less | ((other[None, :] == label[:, None]) & (j[None, :] < i[:, None]))
        one, another = (i >= border)[:, None], (j >= border)[None, :]
        before = ((one == another) & before) | (one & (another == 0))
        place += tl.sum((before & (j < num_points)[None, :]).to(tl.int32), 1)
    return tl.where(i < num_points, place, i), lower


@triton.jit
def count_lower(sorted_p, count, steps, label):
    """How many of the sorted labels are lower, and whether one is equal: a binary search of so many steps."""
    low = tl.zeros(label.shape, tl.int32)
    high = low + count
    for _ in tl.range(0, loop_bound(steps)):
        middle = (low + high) >> 1
        searched = low < high
        less = tl.load(sorted_p + middle, mask=searched, other=0) < label
        low = tl.where(searched & less, middle + 1, low)
        high = tl.where(searched & (less == 0), middle, high)
    inside = low < count
    return low, inside & (tl.load(sorted_p + low, mask=inside, other=0) == label)


@triton.jit
def place_in_segments(raw_p, i, source, label, num_points, border, M: tl.constexpr, N: tl.constexpr):
    """Where points lie that are number ``i`` by class: by segment, then by class. The shorter segment is counted."""
    first_is_shorter = border <= num_points - border
    begin, end = tl.where(first_is_shorter, 0, border), tl.where(first_is_shorter, border, num_points)
    before = tl.zeros([M], tl.int32)
    for start in tl.range(loop_bound(begin), loop_bound(end), N):
        j = start + tl.arange(0, N)
        other = tl.load(raw_p + j, mask=j < end, other=0)
        less = (other[None, :] < label[:, None]) | ((other[None, :] == label[:, None]) & (j[None, :] < source[:, None]))
        before += tl.sum((less & (j < end)[None, :]).to(tl.int32), 1)
    in_first = tl.where(first_is_shorter, before, i - before)
    return tl.where(source < border, in_first, border + i - in_first)


@triton.jit
def load_point(x_p, w_p, source, num_points, total, d, strides, OUT: tl.constexpr, DIM: tl.constexpr):
    """Numbers ``d`` of points and then of columns."""
    inside = (d < DIM)[None, :]
    point_p = x_p + source.to(tl.int64)[:, None] * strides[0] + d[None, :]
    values = tl.load(point_p, mask=(source < num_points)[:, None] & inside, other=0.0).to(OUT)
    if w_p is not None:
        is_column = (source >= num_points) & (source < total)
        column_p = w_p + (source - num_points).to(tl.int64)[:, None] * strides[1] + d[None, :]
        more = tl.load(column_p, mask=is_column[:, None] & inside, other=0.0)
        values = tl.where(is_column[:, None], more.to(OUT), values)
    return values


@triton.jit(do_not_specialize=["num_points", "num_more", "border", "pitch", "num_words", "steps"])
def arrange_kernel(
    label_p, more_p, sorted_p, sorted_from_p, x_p, w_p, weight_p,  # labels of points, of columns; of points, sorted
    order_p, small_p, vectors_p, parts_p, values_p, words_p,
    num_points, num_more, border, pitch, strides, num_words, steps,
    WEIGHTED: tl.constexpr, PARTS: tl.constexpr, CUT: tl.constexpr, DIM: tl.constexpr, M: tl.constexpr,
    N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Order, small labels, copies of the vectors in that order, PARTS of their unit vectors, reciprocal norms and
    weights: see Saved. Few points are counted, and their labels need not be sorted."""
    T: tl.constexpr = values_p.dtype.element_ty
    OUT: tl.constexpr = vectors_p.dtype.element_ty
    total = num_points + num_more
    i = tl.program_id(0) * M + tl.arange(0, M)
    is_point = i < num_points
    inside = i < total
    clear(words_p, num_words, 1024)
    if sorted_p is None:
        source = i
        label = label_at(label_p, more_p, i, num_points, total)
        place, lower = place_of(label_p, more_p, i, label, num_points, total, border, M, N)
    else:
        source = tl.where(is_point, tl.load(sorted_from_p + i, mask=is_point, other=0).to(tl.int32), i)
        label = label_at(sorted_p, more_p, i, num_points, total)
        lower, known = count_lower(sorted_p, num_points, steps, label)
        lower = 2 * lower + (known == 0).to(tl.int32)
        place = i
        if (border > 0) & (border < num_points):
            place = tl.where(is_point, place_in_segments(label_p, i, source, label, num_points, border, M, N), i)
    ignored = label == ignored_label(label.dtype)
    small = tl.where(ignored, ignored_label(tl.int32), lower)
    tl.store(order_p + place, source, mask=is_point)
    tl.store(small_p + place, small, mask=inside)
    valid = inside & (ignored == 0)
    WIDE: tl.constexpr = tl.float64 == OUT
    squares = tl.zeros([M], tl.float64)
    shrunk_squares = tl.zeros([M], tl.float64)
    for start in tl.range(0, DIM, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        values = load_point(x_p, w_p, source, num_points, total, d, strides, OUT, DIM)
        mask = inside[:, None] & (d < DIM)[None, :]
        tl.store(vectors_p + place.to(tl.int64)[:, None] * DIM + d[None, :], values, mask=mask)
        if CUT and tl.float32 == OUT:
            values = cut_to_tf32(values)
        squares, shrunk_squares = add_squares(squares, shrunk_squares, values, WIDE)
    reciprocal = reciprocal_of(squares, shrunk_squares, valid, T, WIDE)
    tl.store(values_p + place, reciprocal.to(T), mask=i < pitch)
    if PARTS > 0:
        for start in tl.range(0, DIM, BLOCK_D):
            d = start + tl.arange(0, BLOCK_D)
            values = load_point(x_p, w_p, source, num_points, total, d, strides, OUT, DIM)
            units = tl.where(valid[:, None], values * reciprocal.to(OUT)[:, None], 0.0)
            store_parts(parts_p, units, place, inside, d, PARTS * DIM, PARTS, DIM)
    if WEIGHTED:  # points have none
        weight = load_weights(weight_p, i - num_points, inside & (is_point == 0), num_more, T)
        tl.store(values_p + pitch + place, weight, mask=i < pitch)
