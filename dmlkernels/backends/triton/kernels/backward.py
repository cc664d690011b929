"""Gradients: a program owns a block of rows or of columns and streams the others, scoring the tile again."""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton.kernels.blocks import (
    NORM_FLOOR_RECIPROCAL,
    alive,
    column_segment,
    compute_type,
    is_half,
    load_scored,
    load_vectors,
    meeting,
    padded_group,
    row_segment,
    score_tile,
    slope_type,
    sum_type,
)
from dmlkernels.backends.triton.kernels.flags import any_flag
from dmlkernels.backends.triton.kernels.scalars import loop_bound, scalar

ROWS, COLUMNS, BOTH = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)
"""What the owner is in its pairs: the row, the column, or both ends of pairs within one set."""


@triton.jit
def load_numbers(p, index, valid, count, FIRST: tl.constexpr, LENGTH: tl.constexpr, AXIS: tl.constexpr):
    """Rows FIRST to FIRST + LENGTH of (k, count) numbers as vectors that broadcast over the other axis."""
    numbers = ()
    for k in tl.static_range(LENGTH):
        value = tl.load(p + (FIRST + k) * count.to(tl.int64) + index, mask=valid, other=0.0)
        numbers = numbers + (tl.expand_dims(value, AXIS),)
    return numbers


@triton.jit
def store_gradient(out_p, gradient, row, valid, d, DIM: tl.constexpr):
    mask = valid[:, None] & (d < DIM)[None, :]
    tl.store(out_p + row.to(tl.int64)[:, None] * DIM + d[None, :], gradient.to(out_p.dtype.element_ty), mask=mask)


@triton.jit
def through_norm(gradient, bracket, unit, norm):
    """Gradient of a raw vector from that of the unit vector; ``bracket`` is the latter's product with the unit."""
    inverse = tl.where(norm >= NORM_FLOOR_RECIPROCAL, 0.0, norm)
    return (gradient - bracket[:, None] * unit) * inverse[:, None]


@triton.jit(do_not_specialize=["num_own", "num_other"])
def backward_kernel(
    own_p, other_p, out_p,  # out: (own, DIM), or (shares, own, DIM) of unit vectors if PARTIAL
    own_numbers_p, other_numbers_p,  # (k, count): norms, then NUMBERS[0] of each as row and NUMBERS[1] as column
    own_label_p, other_label_p, flags_p,  # flags: of forward, read if SPARSE
    num_own, num_other, own_stride, other_stride, borders, hyper,
    SLOPE: tl.constexpr, NUMBERS: tl.constexpr, SIDE: tl.constexpr, GROUP: tl.constexpr, SPARSE: tl.constexpr,
    PARTIAL: tl.constexpr, PRECISION: tl.constexpr,
    DIM: tl.constexpr, M: tl.constexpr, N: tl.constexpr, BLOCK_D: tl.constexpr, SLICE: tl.constexpr,
):  # fmt: skip
    TYPE: tl.constexpr = compute_type(own_p.dtype.element_ty, other_p.dtype.element_ty)
    SUM: tl.constexpr = sum_type(TYPE)
    SECOND: tl.constexpr = slope_type(TYPE)
    OWN_GROUP: tl.constexpr = GROUP if SIDE == COLUMNS else 1
    OTHER_GROUP: tl.constexpr = 1 if SIDE == COLUMNS else GROUP
    ONE_BLOCK: tl.constexpr = DIM <= BLOCK_D
    ONE_SLICE: tl.constexpr = DIM <= SLICE
    OWNS_ROWS: tl.constexpr = SIDE != COLUMNS
    RAW: tl.constexpr = OWNS_ROWS or is_half(TYPE)  # the streamed vectors, as they were scored
    K: tl.constexpr = NUMBERS[0]
    MATCH: tl.constexpr = (own_label_p if OWNS_ROWS else other_label_p) is not None
    WEIGHT: tl.constexpr = 1 + K if SIDE == BOTH else 1  # where a column's numbers begin

    place = tl.program_id(0) * M + tl.arange(0, M)
    own_index, own_label, own_valid = alive(own_label_p, place, num_own, OWN_GROUP)
    own_norm = tl.load(own_numbers_p + own_index, mask=own_valid, other=0.0)
    own = 0
    if ONE_BLOCK:
        own = load_scored(own_p, own_index, own_valid, own_stride, own_norm, 0, OWNS_ROWS, TYPE, DIM, BLOCK_D)
    d = tl.program_id(1) * SLICE
    bracket = tl.zeros([M], SUM)
    total = tl.zeros([M, SLICE], SUM)

    places = num_other // OTHER_GROUP * padded_group(OTHER_GROUP)
    share = tl.cdiv(tl.cdiv(places, N), tl.num_programs(2)) * N
    first = tl.program_id(2) * share
    for start in tl.range(loop_bound(first), loop_bound(tl.minimum(first + share, places)), N):
        has_grad = True
        if SPARSE:
            begin = tl.program_id(0) * M
            if OWNS_ROWS:
                has_grad = any_flag(flags_p, begin, scalar(start), num_other, N)
            else:
                has_grad = any_flag(flags_p, scalar(start), begin, num_own, M)
        if has_grad:
            there = start + tl.arange(0, N)
            index, label, valid = alive(other_label_p, there, num_other, OTHER_GROUP)
            norm = tl.load(other_numbers_p + index, mask=valid, other=0.0)
            other = 0
            if ONE_BLOCK:
                other = load_scored(other_p, index, valid, other_stride, norm, 0, not OWNS_ROWS, TYPE, DIM, BLOCK_D)
            scores = score_tile(
                own, other, (own_p, own_index, own_valid, own_stride, own_norm),
                (other_p, index, valid, other_stride, norm), OWNS_ROWS, TYPE, DIM, BLOCK_D, PRECISION,
            )  # fmt: skip
            same, different = meeting(own_label, own_valid, label, valid, MATCH)
            if SIDE == COLUMNS:
                values = load_numbers(other_numbers_p, index, valid, num_other, 1, K, 0)
                weight = load_numbers(own_numbers_p, own_index, own_valid, num_own, WEIGHT, NUMBERS[1], 1)
                row_part, column_part = row_segment(there, borders)[None, :], column_segment(place, borders)[:, None]
                slope = SLOPE(scores, same, different, values, weight, (row_part, column_part, GROUP), hyper, 0)
            else:
                if SIDE == BOTH:
                    same = same & (place[:, None] != there[None, :])
                values = load_numbers(own_numbers_p, own_index, own_valid, num_own, 1, K, 1)
                weight = load_numbers(other_numbers_p, index, valid, num_other, WEIGHT, NUMBERS[1], 0)
                row_part, column_part = row_segment(place, borders)[:, None], column_segment(there, borders)[None, :]
                slope = SLOPE(scores, same, different, values, weight, (row_part, column_part, GROUP), hyper, 1)
            if SIDE == BOTH:
                points = (there < num_own)[None, :]
                values = load_numbers(other_numbers_p, index, valid, num_other, 1, K, 0)
                weight = load_numbers(own_numbers_p, own_index, own_valid, num_own, WEIGHT, NUMBERS[1], 1)
                row_part, column_part = row_segment(there, borders)[None, :], column_segment(place, borders)[:, None]
                slope += tl.where(
                    points,
                    SLOPE(scores, same, different, values, weight, (row_part, column_part, GROUP), hyper, 0),
                    0.0,
                )
            streamed = other
            if not ONE_BLOCK:
                streamed = load_scored(other_p, index, valid, other_stride, norm, d, not OWNS_ROWS, TYPE, DIM, SLICE)
            factor = ((slope * norm[None, :]) if RAW else slope).to(SECOND)
            if not ONE_SLICE:  # of the slopes as rounded, lest their rounding stays along the vector
                length = 1.0 / tl.where((norm == 0.0) | (not RAW), 1.0, norm)
                bracket += tl.sum(factor.to(SUM) * (scores * length[None, :]), 1)
            total = tl.dot(factor, streamed.to(SECOND), total, input_precision=PRECISION, out_dtype=SUM)

    inside = own_index < num_own
    if OWN_GROUP > 1:
        inside = inside & (place % padded_group(OWN_GROUP) < OWN_GROUP)
    numbers = d + tl.arange(0, SLICE)
    if PARTIAL:
        shares_p = out_p + tl.program_id(2).to(tl.int64) * num_own * DIM
        store_gradient(shares_p, total, own_index, inside, numbers, DIM)
    else:
        raw = load_vectors(own_p, own_index, own_valid, own_stride, d, SUM, DIM, SLICE)
        unit = raw * own_norm[:, None]
        if ONE_SLICE:
            bracket = tl.sum(total * unit, 1)
        gradient = through_norm(total, bracket, unit, own_norm)
        store_gradient(out_p, gradient, own_index, inside, numbers, DIM)


@triton.jit(do_not_specialize=["num_own", "num_shares"])
def combine_kernel(
    shares_p, own_p, own_norm_p, own_label_p, out_p, num_own, own_stride, num_shares,
    GROUP: tl.constexpr, DIM: tl.constexpr, M: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Add the shares of a gradient of unit vectors, always in the same order, and take it through the norm."""
    SUM: tl.constexpr = shares_p.dtype.element_ty
    row = tl.program_id(0) * M + tl.arange(0, M)
    inside = row < num_own
    _, _, valid = alive(own_label_p, row // GROUP, num_own // GROUP, 1)
    norm = tl.load(own_norm_p + row, mask=valid, other=0.0)
    bracket = tl.zeros([M], SUM)
    for start in tl.range(0, DIM, BLOCK_D):
        total = add_shares(shares_p, row, valid, num_own, num_shares, start, DIM, M, BLOCK_D)
        unit = load_vectors(own_p, row, valid, own_stride, start, SUM, DIM, BLOCK_D) * norm[:, None]
        bracket += tl.sum(total * unit, 1)
    for start in tl.range(0, DIM, BLOCK_D):
        total = add_shares(shares_p, row, valid, num_own, num_shares, start, DIM, M, BLOCK_D)
        unit = load_vectors(own_p, row, valid, own_stride, start, SUM, DIM, BLOCK_D) * norm[:, None]
        gradient = through_norm(total, bracket, unit, norm)
        store_gradient(out_p, gradient, row, inside, start + tl.arange(0, BLOCK_D), DIM)


@triton.jit
def add_shares(
    shares_p, row, valid, num_own, num_shares, start, DIM: tl.constexpr, M: tl.constexpr, BLOCK_D: tl.constexpr
):
    total = tl.zeros([M, BLOCK_D], shares_p.dtype.element_ty)
    for share in tl.range(0, loop_bound(num_shares)):
        share_p = shares_p + share * (num_own.to(tl.int64) * DIM)
        total += load_vectors(share_p, row, valid, DIM, start, shares_p.dtype.element_ty, DIM, BLOCK_D)
    return total
