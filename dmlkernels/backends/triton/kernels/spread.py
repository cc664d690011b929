"""Distances among the centres of each class: a program takes the classes of one tile."""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton.kernels.blocks import load_vectors
from dmlkernels.backends.triton.kernels.gradients import store_gradient, through_norm
from dmlkernels.backends.triton.kernels.norms import add_squares, reciprocal_of

TINY = tl.constexpr(1.1754944e-38)  # least squared distance, never reached with the paper's slack


@triton.jit
def centers_of(num_classes, GROUP: tl.constexpr, PADDED: tl.constexpr, M: tl.constexpr):
    """Rows of this program's centres, each class padded to a power of two; which are valid; and their classes."""
    place = tl.arange(0, M)
    group, number = tl.program_id(0) * (M // PADDED) + place // PADDED, place % PADDED
    return group * GROUP + number, (number < GROUP) & (group < num_classes), group


@triton.jit
def norms_of(block, TYPE: tl.constexpr, DIM: tl.constexpr, M: tl.constexpr, BLOCK_D: tl.constexpr):
    """Reciprocal norms, 0 where not valid."""
    WIDE: tl.constexpr = tl.float64 == TYPE
    total, shrunk_total = tl.zeros([M], tl.float64), tl.zeros([M], tl.float64)
    for start in tl.range(0, DIM, BLOCK_D):
        vectors = load_vectors(block, start, TYPE, DIM, BLOCK_D)
        total, shrunk_total = add_squares(total, shrunk_total, vectors, WIDE)
    return reciprocal_of(total, shrunk_total, block[3], WIDE).to(TYPE)


@triton.jit
def cosines_of(block, norm, TYPE: tl.constexpr, DIM: tl.constexpr, M: tl.constexpr, BLOCK_D: tl.constexpr):
    cosines = tl.zeros([M, M], TYPE)
    for start in tl.range(0, DIM, BLOCK_D):
        unit = load_vectors(block, start, TYPE, DIM, BLOCK_D) * norm[:, None]
        cosines = tl.dot(unit, tl.trans(unit), cosines, input_precision="ieee", out_dtype=TYPE)
    return cosines


@triton.jit
def distances_of(cosines, SLACK: tl.constexpr):
    squares = 2.0 + SLACK - 2.0 * cosines
    return tl.sqrt(tl.where(squares < TINY, TINY, squares))


@triton.jit(do_not_specialize=["num_classes", "stride"])
def spread_kernel(
    centers_p, out_p, num_classes, stride,  # out: (programs,) sums
    SLACK: tl.constexpr, GROUP: tl.constexpr, PADDED: tl.constexpr, DIM: tl.constexpr, M: tl.constexpr,
    BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Sum over pairs of centres of a class of sqrt(2 + SLACK - 2 cos)."""
    TYPE: tl.constexpr = out_p.dtype.element_ty
    row, valid, group = centers_of(num_classes, GROUP, PADDED, M)
    block = (centers_p, tl.program_id(0) * 0, row, valid, stride)
    norm = norms_of(block, TYPE, DIM, M, BLOCK_D)
    distances = distances_of(cosines_of(block, norm, TYPE, DIM, M, BLOCK_D), SLACK)
    counts = valid[:, None] & valid[None, :] & (group[:, None] == group[None, :]) & (row[:, None] < row[None, :])
    tl.store(out_p + tl.program_id(0), tl.sum(tl.sum(tl.where(counts, distances, 0.0), 1), 0))


@triton.jit(do_not_specialize=["num_classes", "stride"])
def spread_slope_kernel(
    centers_p, gradient_p, out_p, num_classes, stride,  # out: (centres, DIM), gradient: of the sum
    TYPE: tl.constexpr, SLACK: tl.constexpr, GROUP: tl.constexpr, PADDED: tl.constexpr, DIM: tl.constexpr,
    M: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Gradient of the centres."""
    row, valid, group = centers_of(num_classes, GROUP, PADDED, M)
    block = (centers_p, tl.program_id(0) * 0, row, valid, stride)
    norm = norms_of(block, TYPE, DIM, M, BLOCK_D)
    cosines = cosines_of(block, norm, TYPE, DIM, M, BLOCK_D)
    counts = valid[:, None] & valid[None, :] & (group[:, None] == group[None, :]) & (row[:, None] != row[None, :])
    slope = tl.where(counts, -tl.load(gradient_p).to(TYPE) / distances_of(cosines, SLACK), 0.0)
    bracket = tl.sum(tl.where(counts, slope * cosines, 0.0), 1)
    for start in tl.range(0, DIM, BLOCK_D):
        unit = load_vectors(block, start, TYPE, DIM, BLOCK_D) * norm[:, None]
        # A class that is not finite stays alone: its slopes are NaN, and those to other classes are zeros.
        finite = tl.where(unit == unit, unit, 0.0)
        of_unit = tl.dot(slope, finite, input_precision="ieee", out_dtype=TYPE)
        gradient = through_norm(of_unit, bracket, unit, norm)
        store_gradient(out_p, gradient, row, valid, start + tl.arange(0, BLOCK_D), DIM)
