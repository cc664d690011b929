"""Gradients on their way out: through the normalisation, and summed where several programs share a block."""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton.kernels.blocks import (
    NORM_FLOOR_RECIPROCAL,
    ignored_label,
    in_order,
    load_units,
    load_vectors,
)
from dmlkernels.backends.triton.kernels.scalars import decoded, loop_bound


@triton.jit
def store_gradient(out_p, gradient, index, valid, d, DIM: tl.constexpr):
    mask = valid[:, None] & (d < DIM)[None, :]
    tl.store(out_p + index.to(tl.int64)[:, None] * DIM + d[None, :], gradient.to(out_p.dtype.element_ty), mask=mask)


@triton.jit
def through_norm(gradient, bracket, unit, norm):
    """Gradient of a raw vector from that of the unit vector; ``bracket`` is the latter's product with the unit."""
    inverse = tl.where(norm >= NORM_FLOOR_RECIPROCAL, 0.0, norm)
    return (gradient - bracket[:, None] * unit) * inverse[:, None]


@triton.jit
def add_splits(
    splits_p, row, valid, num_owned, num_splits, start, DIM: tl.constexpr, M: tl.constexpr, BLOCK_D: tl.constexpr
):
    """Sum of the splits of some numbers of each row."""
    total = tl.zeros([M, BLOCK_D], splits_p.dtype.element_ty)
    for split in tl.range(0, loop_bound(num_splits)):
        split_p = splits_p + split * (num_owned.to(tl.int64) * DIM)
        block = (split_p, tl.program_id(0) * 0, row, valid, DIM)
        total += load_vectors(block, start, splits_p.dtype.element_ty, DIM, BLOCK_D)
    return total


@triton.jit
def combine(
    block, splits_p, owned_p, owned_norm_p, owned_label_p, order_p, out_p, num_owned, owned_stride, num_splits,
    CUT: tl.constexpr, GROUP: tl.constexpr, VIEWS: tl.constexpr, DIM: tl.constexpr, M: tl.constexpr,
    BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Add the splits of a gradient of a block of unit vectors, always in the same order, and take it through the
    norm."""
    SUM: tl.constexpr = splits_p.dtype.element_ty
    row = block * M + tl.arange(0, M)
    inside = row < num_owned
    # One label for each group of columns, or for both views of a row.
    count = num_owned // (GROUP * VIEWS)
    valid = inside
    if owned_label_p is not None:
        label = tl.load(owned_label_p + (row % count if VIEWS == 2 else row // GROUP), mask=inside, other=0)
        valid = valid & (label != ignored_label(owned_label_p.dtype.element_ty))
    owned = (owned_p, block * M, tl.arange(0, M), valid, owned_stride)
    norm = tl.load(owned_norm_p + row, mask=valid, other=0.0)
    bracket = tl.zeros([M], SUM)
    for start in tl.range(0, DIM, BLOCK_D):
        total = add_splits(splits_p, row, valid, num_owned, num_splits, start, DIM, M, BLOCK_D)
        unit = load_units(owned, norm, start, CUT, SUM, DIM, BLOCK_D)
        bracket += tl.sum(total * unit, 1)
    to = in_order(order_p, row, inside)
    for start in tl.range(0, DIM, BLOCK_D):
        total = add_splits(splits_p, row, valid, num_owned, num_splits, start, DIM, M, BLOCK_D)
        unit = load_units(owned, norm, start, CUT, SUM, DIM, BLOCK_D)
        gradient = through_norm(total, bracket, unit, norm)
        store_gradient(out_p, gradient, to, inside, start + tl.arange(0, BLOCK_D), DIM)


@triton.jit
def combine_kernel(
    x_splits_p, x_p, x_norm_p, x_label_p, x_out_p,  # of rows; splits are None where there is nothing to do
    w_splits_p, w_p, w_norm_p, w_label_p, w_out_p,  # of columns
    order_p, x_sizes, w_sizes,  # order: of rows; sizes: vectors, their stride, splits
    CUT: tl.constexpr, GROUP: tl.constexpr, VIEWS: tl.constexpr, DIM: tl.constexpr, M: tl.constexpr,
    BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Splits of rows and columns in one launch; the first programs take the rows."""
    x_sizes, w_sizes = decoded(x_sizes), decoded(w_sizes)
    blocks = tl.cdiv(x_sizes[0], M)
    block = tl.program_id(0)
    if block < blocks:
        if x_splits_p is not None:
            combine(
                block, x_splits_p, x_p, x_norm_p, x_label_p, order_p, x_out_p, x_sizes[0], x_sizes[1], x_sizes[2],
                CUT, 1, VIEWS, DIM, M, BLOCK_D,
            )  # fmt: skip
    elif w_splits_p is not None:
        combine(
            block - blocks, w_splits_p, w_p, w_norm_p, w_label_p, None, w_out_p, w_sizes[0], w_sizes[1], w_sizes[2],
            CUT, GROUP, 1, DIM, M, BLOCK_D,
        )  # fmt: skip
