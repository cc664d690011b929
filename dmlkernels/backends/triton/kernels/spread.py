"""Distances among the centres of each class: a program takes the classes of one tile."""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton.kernels.blocks import load_vectors
from dmlkernels.backends.triton.kernels.gradients import store_gradient, through_norm
from dmlkernels.backends.triton.kernels.norms import norms_of
from dmlkernels.backends.triton.kernels.scalars import number

TINY = tl.constexpr(1.1754944e-38)  # least squared distance, never reached with the paper's slack


@triton.jit
def cosines_among(
    centers_p, num_classes, stride, TYPE: tl.constexpr, GROUP: tl.constexpr, PADDED: tl.constexpr, DIM: tl.constexpr,
    M: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """This program's centres as a block, with their reciprocal norms; their cosines, and which of these are of two
    places of one class. Each class is padded to a power of two."""
    place = tl.arange(0, M)
    group, number = tl.program_id(0) * (M // PADDED) + place // PADDED, place % PADDED
    valid = (number < GROUP) & (group < num_classes)
    block = (centers_p, tl.program_id(0) * 0, group * GROUP + number, valid, stride)
    norm = norms_of(block, TYPE, DIM, M, BLOCK_D).to(TYPE)
    cosines = tl.zeros([M, M], TYPE)
    for start in tl.range(0, DIM, BLOCK_D):
        unit = load_vectors(block, start, TYPE, DIM, BLOCK_D) * norm[:, None]
        cosines = tl.dot(unit, tl.trans(unit), cosines, input_precision="ieee", out_dtype=TYPE)
    among = valid[:, None] & valid[None, :] & (group[:, None] == group[None, :])
    return block, norm, cosines, among


@triton.jit
def distances_of(cosines, SLACK: tl.constexpr):
    """sqrt(2 + SLACK - 2 cos)."""
    squares = 2.0 + SLACK - 2.0 * cosines
    return tl.sqrt(tl.where(squares < TINY, TINY, squares))


@triton.jit(do_not_specialize=["num_classes"])
def spread_kernel(
    centers_p, out_p, num_classes, stride, weight,  # out: (programs,) sums
    SLACK: tl.constexpr, GROUP: tl.constexpr, PADDED: tl.constexpr, DIM: tl.constexpr, M: tl.constexpr,
    BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Weighted sum of the distances of pairs of centres of a class."""
    TYPE: tl.constexpr = out_p.dtype.element_ty
    _, _, cosines, among = cosines_among(centers_p, num_classes, stride, TYPE, GROUP, PADDED, DIM, M, BLOCK_D)
    place = tl.arange(0, M)
    counted = among & (place[:, None] < place[None, :])
    total = tl.sum(tl.sum(tl.where(counted, distances_of(cosines, SLACK), 0.0), 1), 0)
    tl.store(out_p + tl.program_id(0), total * number(weight, 0, TYPE))


@triton.jit(do_not_specialize=["num_classes"])
def spread_slope_kernel(
    centers_p, gradient_p, out_p, num_classes, stride, gradient_stride, weight,  # out: (centres, DIM)
    SLACK: tl.constexpr, GROUP: tl.constexpr, PADDED: tl.constexpr, DIM: tl.constexpr, M: tl.constexpr,
    BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Gradient of the centres, from that of every program's sum."""
    TYPE: tl.constexpr = gradient_p.dtype.element_ty
    block, norm, cosines, among = cosines_among(
        centers_p, num_classes, stride, TYPE, GROUP, PADDED, DIM, M, BLOCK_D
    )  # fmt: skip
    place = tl.arange(0, M)
    counted = among & (place[:, None] != place[None, :])
    gradient = tl.load(gradient_p + tl.program_id(0) * gradient_stride) * number(weight, 0, TYPE)
    slope = tl.where(counted, -gradient / distances_of(cosines, SLACK), 0.0)
    bracket = tl.sum(tl.where(counted, slope * cosines, 0.0), 1)
    for start in tl.range(0, DIM, BLOCK_D):
        unit = load_vectors(block, start, TYPE, DIM, BLOCK_D) * norm[:, None]
        # A class that is not finite stays alone: its slopes are NaN, and those to other classes are zeros.
        finite = tl.where(unit == unit, unit, 0.0)
        of_unit = tl.dot(slope, finite, input_precision="ieee", out_dtype=TYPE)
        found = through_norm(of_unit, bracket, unit, norm)
        store_gradient(out_p, found, block[2], block[3], start + tl.arange(0, BLOCK_D), DIM)
