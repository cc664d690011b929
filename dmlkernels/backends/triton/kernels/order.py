"""Points that meet each other, sorted by class: a few thousand of them by counting who comes before whom."""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton.kernels.blocks import ignored_label
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


@triton.jit(do_not_specialize=["num_points", "num_more", "border"])
def order_kernel(
    label_p, more_p, order_p, small_label_p, num_points, num_more, border, M: tl.constexpr, N: tl.constexpr
):
    """Where each point of the sorted ones comes from: by segment, which ``border`` parts, by class, by number. And
    labels in 32 bits, equal where the given ones are: of the sorted points, then of the columns."""
    WIDE: tl.constexpr = label_p.dtype.element_ty
    total = num_points + num_more
    i = tl.program_id(0) * M + tl.arange(0, M)
    label = label_at(label_p, more_p, i, num_points, total)
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
    is_point = i < num_points
    tl.store(order_p + place, i, mask=is_point)
    small = tl.where(label == ignored_label(WIDE), ignored_label(tl.int32), lower)
    tl.store(small_label_p + tl.where(is_point, place, i), small, mask=i < total)


@triton.jit(do_not_specialize=["count", "bound"])
def small_labels_kernel(label_p, out_p, count, bound, M: tl.constexpr):
    """Labels to compare with the numbers of ``bound`` columns, in 32 bits: what is no column's number stays none."""
    place = tl.program_id(0) * M + tl.arange(0, M)
    label = tl.load(label_p + place, mask=place < count, other=0)
    close = tl.maximum(tl.minimum(label, bound.to(label.dtype)), -1).to(tl.int32)
    ignored = label == ignored_label(label_p.dtype.element_ty)
    tl.store(out_p + place, tl.where(ignored, ignored_label(tl.int32), close), mask=place < count)
