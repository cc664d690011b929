"""The gradient of a block of rows or of columns: a program owns it and streams the others, scoring each tile again."""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton.kernels.blocks import (
    compute_type,
    cuts,
    in_order,
    load_scored,
    load_units,
    load_value,
    load_values,
    locate,
    normalises,
    padded_group,
    places_of,
    product_tile,
    scores_of,
    slope_type,
    sum_type,
)
from dmlkernels.backends.triton.kernels.flags import any_flag
from dmlkernels.backends.triton.kernels.gradients import store_gradient, through_norm
from dmlkernels.backends.triton.kernels.masks import (
    WINDOW,
    column_segment,
    label_range,
    masks_of,
    place_range,
    row_segment,
    tiles_in_range,
    tiles_of_labels,
)
from dmlkernels.backends.triton.kernels.parts import (
    LEAST_BOUND,
    SLOPE_SCALE,
    UNIT_SCALE,
    add_product,
    highest_bound,
    load_parts,
    parts_of,
    rest_of,
    scores_of_parts,
    transposed,
)
from dmlkernels.backends.triton.kernels.scalars import decoded, loop_bound, scalar

ROWS, COLUMNS, BOTH = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)
"""What the owner is in its pairs: the row, the column, or both ends of pairs within one set."""


@triton.jit
def slope_tile(
    SLOPE: tl.constexpr, scores, row_factor, masks, row_values, column_values, row_part, column_part, hyper,
    GROUP: tl.constexpr, SIDE: tl.constexpr,
):  # fmt: skip
    """Slopes of a tile. Values and segments are (those of the owned side, of the streamed side), each as rows and as
    columns, and of use where that side is."""
    if SIDE == COLUMNS:
        return SLOPE(
            scores, row_factor, masks, row_values[1], column_values[0], (row_part[1], column_part[0], GROUP), hyper
        )
    else:
        slope = SLOPE(
            scores, row_factor, masks, row_values[0], column_values[1], (row_part[0], column_part[1], GROUP), hyper
        )
        if SIDE == BOTH:  # Values of what is no point are zeros, and so is then the slope.
            slope += SLOPE(
                scores, row_factor, masks, row_values[1], column_values[0], (row_part[1], column_part[0], GROUP), hyper
            )
        return slope


@triton.jit
def write_gradient(
    owned_p, streamed_p, out_p, raw_p, owned_values_p, streamed_values_p, owned_label_p, streamed_label_p, order_p,
    flags_p, num_owned, num_streamed, strides, borders, hyper,  # these as in ``backward_kernel``
    block, part, split, num_splits,  # of the owned vectors, of their numbers, of the streamed vectors
    SLOPE: tl.constexpr, VALUES: tl.constexpr, LAYOUT: tl.constexpr, SIDE: tl.constexpr, PARTIAL: tl.constexpr,
    TURNED: tl.constexpr, PRECISION: tl.constexpr,
    DIM: tl.constexpr, M: tl.constexpr, N: tl.constexpr, BLOCK_D: tl.constexpr, SLICE: tl.constexpr,
):  # fmt: skip
    """The gradient of a block of vectors, or a part of it."""
    PARTS: tl.constexpr = LAYOUT.parts
    IN_PARTS: tl.constexpr = PARTS > 0
    TYPE: tl.constexpr = tl.float32 if IN_PARTS else compute_type(owned_p.dtype.element_ty, streamed_p.dtype.element_ty)
    SUM: tl.constexpr = sum_type(TYPE)
    CUT: tl.constexpr = not IN_PARTS and cuts(TYPE, PRECISION)
    SECOND: tl.constexpr = slope_type(TYPE)
    owned_stride, streamed_stride, owned_pitch, streamed_pitch, raw_stride = strides
    borders = decoded(borders)
    OWNS_ROWS: tl.constexpr = SIDE != COLUMNS
    # A tile is (owned, streamed) or (streamed, owned): where a vector of either side is to be expanded to lie along it.
    OWNED_FIRST: tl.constexpr = OWNS_ROWS or TURNED
    OWNED_AXIS: tl.constexpr = 1 if OWNED_FIRST else 0
    STREAMED_AXIS: tl.constexpr = 0 if OWNED_FIRST else 1
    GROUP: tl.constexpr = LAYOUT.group
    OWNED_GROUP: tl.constexpr = 1 if OWNS_ROWS else GROUP
    STREAMED_GROUP: tl.constexpr = GROUP if OWNS_ROWS else 1
    OWNED_VIEWS: tl.constexpr = LAYOUT.views if OWNS_ROWS else 1
    STREAMED_VIEWS: tl.constexpr = 1 if OWNS_ROWS else LAYOUT.views
    SAME: tl.constexpr = LAYOUT.same_scores
    MATCH: tl.constexpr = LAYOUT.labelled
    ALWAYS_MASKED: tl.constexpr = padded_group(GROUP) != GROUP or (LAYOUT.within and not MATCH)
    ONE_BLOCK: tl.constexpr = DIM <= BLOCK_D
    ONE_SLICE: tl.constexpr = DIM <= SLICE
    tl.static_assert(ONE_BLOCK or not IN_PARTS, "parts are of whole vectors")
    SCALED: tl.constexpr = LAYOUT.scaled
    OWNED_UNITS: tl.constexpr = not SCALED if IN_PARTS else normalises(TYPE, True, OWNS_ROWS, SAME)
    STREAMED_UNITS: tl.constexpr = not SCALED if IN_PARTS else normalises(TYPE, False, OWNS_ROWS, SAME)
    LEFT_UNITS: tl.constexpr = OWNED_UNITS if OWNED_FIRST else STREAMED_UNITS
    RIGHT_UNITS: tl.constexpr = STREAMED_UNITS if OWNED_FIRST else OWNED_UNITS
    K: tl.constexpr = VALUES.rows
    PLAIN: tl.constexpr = VALUES.plain
    WEIGHT: tl.constexpr = 1 + K if SIDE == BOTH else 1  # where a column's values begin
    OWNED_K: tl.constexpr = K if OWNS_ROWS else 0
    STREAMED_PLAIN: tl.constexpr = 0 if SIDE == ROWS else PLAIN
    STREAMED_K: tl.constexpr = 0 if SIDE == ROWS else K
    OWNED_WEIGHTS: tl.constexpr = 0 if SIDE == ROWS else VALUES.columns
    STREAMED_WEIGHTS: tl.constexpr = 0 if SIDE == COLUMNS else VALUES.columns

    begin = block * M
    place = begin + tl.arange(0, M)
    owned_base, owned_local, owned_label, owned_valid = locate(
        owned_label_p, begin, num_owned, M, OWNED_GROUP, OWNED_VIEWS
    )
    true_norm = load_value(owned_values_p, owned_base, owned_local, owned_pitch, 0)
    owned_norm = rest_of(true_norm) if SCALED else true_norm
    owned_block = (owned_p, owned_base, owned_local, owned_valid, owned_stride)
    owned = 0
    if IN_PARTS:
        owned = load_parts(owned_block, 0, PARTS, DIM, BLOCK_D)
    elif ONE_BLOCK:
        owned = load_scored(owned_block, owned_norm, 0, OWNED_UNITS, TYPE, DIM, BLOCK_D, PRECISION)
    owned_values = load_values(owned_values_p, owned_base, owned_local, owned_pitch, 1, OWNED_K, OWNED_AXIS)
    owned_weight = load_values(owned_values_p, owned_base, owned_local, owned_pitch, WEIGHT, OWNED_WEIGHTS, OWNED_AXIS)
    low, high = 0, 0
    if MATCH:
        if owned_label_p is not None:
            low, high = label_range(owned_label, owned_valid)
        else:
            low, high = place_range(begin, OWNED_GROUP, M)
    straddles = False
    if LAYOUT.segmented:
        straddles = column_segment(begin, borders) != column_segment(begin + M - 1, borders)
        if OWNS_ROWS:
            straddles = row_segment(begin, borders) != row_segment(begin + M - 1, borders)
    bound = 1.0
    if IN_PARTS:  # of slopes, for each row or for all
        if OWNS_ROWS:
            bound = tl.expand_dims(load_value(owned_values_p, owned_base, owned_local, owned_pitch, 1 + K), 1)
        else:
            bound = highest_bound(streamed_values_p, num_streamed, streamed_pitch, 1 + K)
        bound = tl.maximum(bound, LEAST_BOUND)
    d = part * SLICE
    bracket = tl.zeros([M, N] if OWNED_FIRST else [N, M], SUM)
    total = tl.zeros([M, SLICE], SUM)

    places = places_of(num_streamed, STREAMED_GROUP, STREAMED_VIEWS)
    share = tl.cdiv(tl.cdiv(places, N), num_splits) * N
    first = split * share
    hits = 0
    for step in tl.range(loop_bound(first), loop_bound(tl.minimum(first + share, places)), N):
        start = scalar(step)
        tile = (start - first) // N % WINDOW
        if MATCH and tile == 0:
            if streamed_label_p is None:
                hits = tiles_of_labels(owned_label, owned_valid, start, STREAMED_GROUP, N)
            else:
                hits = tiles_in_range(streamed_label_p, start, num_streamed, low, high, STREAMED_GROUP, OWNS_ROWS, N)
        has_grad = True
        if flags_p is not None:
            if OWNS_ROWS:
                has_grad = any_flag(flags_p, begin, start, num_streamed, N)
            else:
                has_grad = any_flag(flags_p, start, begin, num_owned, M)
        if has_grad:
            base, local, _, valid = locate(streamed_label_p, start, num_streamed, N, STREAMED_GROUP, STREAMED_VIEWS)
            norm = load_value(streamed_values_p, base, local, streamed_pitch, 0)
            if SCALED:
                norm = rest_of(norm)
            values = load_values(streamed_values_p, base, local, streamed_pitch, 1, STREAMED_PLAIN, STREAMED_AXIS)
            weight = load_values(
                streamed_values_p, base, local, streamed_pitch, WEIGHT, STREAMED_WEIGHTS, STREAMED_AXIS
            )
            streamed_block = (streamed_p, base, local, valid, streamed_stride)
            streamed = 0
            if IN_PARTS:
                streamed = load_parts(streamed_block, 0, PARTS, DIM, BLOCK_D)
            elif ONE_BLOCK:
                streamed = load_scored(streamed_block, norm, 0, STREAMED_UNITS, TYPE, DIM, BLOCK_D, PRECISION)
            if OWNED_FIRST:
                left, left_block, left_norm = owned, owned_block, owned_norm
                right, right_block, right_norm = streamed, streamed_block, norm
            else:
                left, left_block, left_norm = streamed, streamed_block, norm
                right, right_block, right_norm = owned, owned_block, owned_norm
            if IN_PARTS:
                products = scores_of_parts(
                    left, right, 0, 0, left_norm.shape[0], right_norm.shape[0], SUM, PARTS, DIM, BLOCK_D
                )
            else:
                products = product_tile(
                    left, right, left_block, right_block, left_norm, right_norm, LEFT_UNITS, RIGHT_UNITS,
                    TYPE, DIM, BLOCK_D, PRECISION,
                )  # fmt: skip
            if IN_PARTS and not SCALED:
                scores, row_factor = products, tl.full([products.shape[0], 1], 1.0, SUM)
            else:
                scores, row_factor = scores_of(products, left_norm, right_norm, LEFT_UNITS, RIGHT_UNITS)
            weights = (owned_weight, weight)

            masked = (hits >> tile) & 1 != 0
            if OWNS_ROWS:
                masked = masked | (start + N > places)
            if LAYOUT.segmented:
                end = start + N - 1
                if OWNS_ROWS:
                    masked = masked | straddles | (column_segment(start, borders) != column_segment(end, borders))
                else:
                    masked = masked | straddles | (row_segment(start, borders) != row_segment(end, borders))
            if ALWAYS_MASKED:
                masked = True
            if masked:
                there = start + tl.arange(0, N)
                found = locate(streamed_label_p, start, num_streamed, N, STREAMED_GROUP, STREAMED_VIEWS)  # few need it
                here, across = tl.expand_dims(place, OWNED_AXIS), tl.expand_dims(there, STREAMED_AXIS)
                masks = masks_of(
                    tl.expand_dims(owned_label, OWNED_AXIS), tl.expand_dims(owned_valid, OWNED_AXIS),
                    tl.expand_dims(found[2], STREAMED_AXIS), tl.expand_dims(found[3], STREAMED_AXIS), MATCH,
                )  # fmt: skip
                if SIDE == BOTH:
                    masks = (masks[0] & (here != across), masks[1])
                more = load_values(
                    streamed_values_p,
                    base,
                    local,
                    streamed_pitch,
                    1 + STREAMED_PLAIN,
                    STREAMED_K - STREAMED_PLAIN,
                    STREAMED_AXIS,
                )
                row_part = (row_segment(here, borders), row_segment(across, borders))
                column_part = (column_segment(here, borders), column_segment(across, borders))
                slope = slope_tile(
                    SLOPE, scores, row_factor, masks, (owned_values, values + more), weights, row_part, column_part,
                    hyper, GROUP, SIDE,
                )  # fmt: skip
            else:
                row_number = (row_segment(begin, borders), row_segment(start, borders))
                column_number = (column_segment(begin, borders), column_segment(start, borders))
                slope = slope_tile(
                    SLOPE, scores, row_factor, (), (owned_values, values), weights, row_number, column_number, hyper,
                    GROUP, SIDE,
                )  # fmt: skip
            if IN_PARTS:
                slope *= SLOPE_SCALE / bound
                if SCALED:
                    slope *= tl.expand_dims(norm, STREAMED_AXIS)
                if not ONE_SLICE:
                    bracket += slope * (products * tl.expand_dims(owned_norm, OWNED_AXIS) if SCALED else products)
                    streamed = load_parts(streamed_block, d, PARTS, DIM, SLICE)
                factors = parts_of(slope, PARTS, streamed_p.dtype.element_ty)
                total = add_product(factors if OWNED_FIRST else transposed(factors), streamed, total)
            else:
                target = streamed
                if not ONE_BLOCK:
                    target = load_scored(streamed_block, norm, d, STREAMED_UNITS, TYPE, DIM, SLICE, PRECISION)
                factor = (slope if STREAMED_UNITS else slope * tl.expand_dims(norm, STREAMED_AXIS)).to(SECOND)
                if not ONE_SLICE:  # of the slopes as rounded, lest their rounding stays along the vector
                    with_units = products if OWNED_UNITS else products * tl.expand_dims(owned_norm, OWNED_AXIS)
                    bracket += factor.to(SUM) * with_units
                factor = factor if OWNED_FIRST else tl.trans(factor)
                total = tl.dot(factor, target.to(SECOND), total, input_precision=PRECISION, out_dtype=SUM)

    if IN_PARTS:
        total *= bound * (1.0 / (UNIT_SCALE * SLOPE_SCALE))
        bracket *= bound * (1.0 / SLOPE_SCALE)
    owned_index = owned_base + owned_local
    inside = owned_index < num_owned
    if OWNED_GROUP > 1:
        inside = inside & (place % padded_group(OWNED_GROUP) < OWNED_GROUP)
    columns = d + tl.arange(0, SLICE)
    if PARTIAL:
        splits_p = out_p + split.to(tl.int64) * num_owned * DIM
        store_gradient(splits_p, total, owned_index, inside, columns, DIM)
    else:
        if IN_PARTS:
            owned_block = (raw_p, owned_base, owned_local, owned_valid, raw_stride)
        units = load_units(owned_block, true_norm, d, CUT, SUM, DIM, SLICE)
        along = tl.sum(total * units, 1) if ONE_SLICE else tl.sum(bracket, OWNED_AXIS)
        gradient = tl.where(owned_valid[:, None], through_norm(total, along, units, true_norm), 0.0)
        store_gradient(out_p, gradient, in_order(order_p, owned_index, inside), inside, columns, DIM)
