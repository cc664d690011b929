"""Statistics of rows: a program owns a block of rows and streams a split of the columns. The last one done finds the
loss."""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton.kernels.blocks import (
    compute_type,
    in_order,
    load_scored,
    load_value,
    load_values,
    load_vectors,
    locate,
    normalises,
    padded_group,
    places_of,
    product_tile,
    scores_of,
    sum_type,
)
from dmlkernels.backends.triton.kernels.flags import set_flags
from dmlkernels.backends.triton.kernels.functions import arrives_last
from dmlkernels.backends.triton.kernels.masks import (
    WINDOW,
    column_segment,
    label_range,
    masks_of,
    masks_of_one,
    row_segment,
    tiles_in_range,
    tiles_of_labels,
)
from dmlkernels.backends.triton.kernels.parts import load_parts, scores_of_parts
from dmlkernels.backends.triton.kernels.scalars import decoded, loop_bound, scalar


@triton.jit
def constant_state(EMPTY: tl.constexpr, M: tl.constexpr, SUM: tl.constexpr):
    """These constants for each of M rows."""
    state = ()
    for k in tl.static_range(len(EMPTY)):
        state = state + (tl.full([M], EMPTY[k], SUM),)
    return state


@triton.jit
def store_state(out_p, state, first, step, stored, valid):
    """Write each row's summary, its numbers ``step`` apart; zeros for rows that take no part."""
    for k in tl.static_range(len(state)):
        tl.store(out_p + first + k * step, tl.where(valid, state[k], 0.0), mask=stored)


@triton.jit
def result_place(order_p, row, num_rows, WIDTH: tl.constexpr, VIEWS: tl.constexpr):
    """Where a row's finished statistics begin, in the caller's order, and how far apart they are: those of two views
    alternate."""
    place = in_order(order_p, row, row < num_rows).to(tl.int64)
    if VIEWS == 2:
        half = num_rows // 2
        return place % half * (2 * WIDTH) + place // half, 2
    else:
        return place * WIDTH, 1


@triton.jit
def merge_splits(MERGE: tl.constexpr, splits_p, row, valid, num_rows, state):
    """Merge the statistics of all splits of these rows into ``state``, always in the same order."""
    for split in tl.range(0, loop_bound(tl.num_programs(1))):
        p = splits_p + (split * num_rows.to(tl.int64) + row) * len(state)
        part = ()
        for k in tl.static_range(len(state)):  # from where all multiprocessors see it
            part = part + (tl.load(p + k, mask=valid, other=0.0, cache_modifier=".cg"),)
        state = MERGE(state, part)
    return state


@triton.jit(do_not_specialize=["num_rows", "num_columns", "num_added"])
def forward_kernel(
    x_p, w_p, splits_p,  # splits: (splits, rows, WIDTH) if several
    counters_p, out_p,  # counters: zeros, of each block and of all blocks
    x_values_p, w_values_p,  # (k, count): norms, then VALUES.rows or VALUES.columns of the epilogue's
    x_label_p, w_label_p, order_p, flags_p,  # order: of points; flags: to set
    formula_p, loss_p,  # tuples, of the LOSS
    num_rows, num_columns, num_added, strides, borders, hyper, numbers,  # strides: of x, of w, of the values of each
    FOLD: tl.constexpr, MASK: tl.constexpr, FINISH: tl.constexpr, READY: tl.constexpr, MERGE: tl.constexpr,
    EMPTY: tl.constexpr, NEUTRAL: tl.constexpr,  # state, and statistics, of no columns
    LOSS: tl.constexpr, VALUE: tl.constexpr, FORM: tl.constexpr,  # of the statistics, or None
    VALUES: tl.constexpr, LAYOUT: tl.constexpr, PRECISION: tl.constexpr,
    DIM: tl.constexpr, M: tl.constexpr, N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    PARTS: tl.constexpr = LAYOUT.parts
    IN_PARTS: tl.constexpr = PARTS > 0
    TYPE: tl.constexpr = tl.float32 if IN_PARTS else compute_type(x_p.dtype.element_ty, w_p.dtype.element_ty)
    SUM: tl.constexpr = sum_type(TYPE)
    x_stride, w_stride, x_pitch, w_pitch = strides
    borders = decoded(borders)
    GROUP: tl.constexpr = LAYOUT.group
    VIEWS: tl.constexpr = LAYOUT.views
    SAME: tl.constexpr = LAYOUT.same_scores
    MATCH: tl.constexpr = LAYOUT.labelled
    ALWAYS_MASKED: tl.constexpr = padded_group(GROUP) != GROUP or (LAYOUT.within and not MATCH)
    NORMALISED: tl.constexpr = normalises(TYPE, True, True, SAME)

    begin = tl.program_id(0) * M
    row = begin + tl.arange(0, M)
    x_base, x_local, x_label, x_valid = locate(x_label_p, begin, num_rows, M, 1, VIEWS)
    x_norm = load_value(x_values_p, x_base, x_local, x_pitch, 0)
    x_block = (x_p, x_base, x_local, x_valid, x_stride)
    x = 0
    if DIM <= BLOCK_D:
        if IN_PARTS:
            x = load_parts(x_block, 0, PARTS, DIM, BLOCK_D)
        else:
            x = load_scored(x_block, x_norm, 0, NORMALISED, TYPE, DIM, BLOCK_D, PRECISION)
    values = load_values(x_values_p, x_base, x_local, x_pitch, 1, VALUES.rows, 1)
    row_part = row_segment(row, borders)
    straddles_rows = row_segment(begin, borders) != row_segment(begin + M - 1, borders)
    low, high = 0, 0
    if MATCH and w_label_p is not None:
        low, high = label_range(x_label, x_valid)

    places = places_of(num_columns, GROUP, 1)
    split = tl.cdiv(tl.cdiv(places, N), tl.num_programs(1)) * N
    first = tl.program_id(1) * split
    state = constant_state(EMPTY, M, SUM)
    hits = 0
    cold = READY is not None
    for step in tl.range(loop_bound(first), loop_bound(tl.minimum(first + split, places)), N):
        start = scalar(step)
        w_base, w_local, _, w_valid = locate(w_label_p, start, num_columns, N, GROUP, 1)
        w_norm = load_value(w_values_p, w_base, w_local, w_pitch, 0)
        weight = load_values(w_values_p, w_base, w_local, w_pitch, 1, VALUES.columns, 0)
        w_block = (w_p, w_base, w_local, w_valid, w_stride)
        if IN_PARTS:
            w = load_parts(w_block, 0, PARTS, DIM, BLOCK_D) if DIM <= BLOCK_D else 0
            scores = scores_of_parts(x, w, x_block, w_block, M, N, SUM, PARTS, DIM, BLOCK_D)
            factor = tl.full([M, 1], 1.0, SUM)
        else:
            w = load_vectors(w_block, 0, TYPE, DIM, BLOCK_D) if DIM <= BLOCK_D else 0
            products = product_tile(
                x, w, x_block, w_block, x_norm, w_norm, NORMALISED, False, TYPE, DIM, BLOCK_D, PRECISION
            )
            scores, factor = scores_of(products, x_norm, w_norm, NORMALISED, False)

        tile = (start - first) // N % WINDOW
        if MATCH and tile == 0:
            if w_label_p is None:
                hits = tiles_of_labels(x_label, x_valid, start, GROUP, N)
            else:
                hits = tiles_in_range(w_label_p, start, num_columns, low, high, GROUP, True, N)
        masked = ((hits >> tile) & 1 != 0) | (start + N > places) | cold
        if LAYOUT.segmented:
            masked = (
                masked | straddles_rows | (column_segment(start, borders) != column_segment(start + N - 1, borders))
            )
        if ALWAYS_MASKED:
            masked = True
        has_grad = 0
        if masked:
            column = start + tl.arange(0, N)
            if LAYOUT.one_positive:
                masks = masks_of_one(x_label, x_valid, start, num_columns, N)
            else:
                found = locate(w_label_p, start, num_columns, N, GROUP, 1)  # labels again: few tiles need them
                masks = masks_of(x_label[:, None], x_valid[:, None], found[2][None, :], found[3][None, :], MATCH)
            if LAYOUT.within:
                masks = (masks[0] & (row[:, None] != column[None, :]), masks[1])
            column_part = column_segment(column, borders)[None, :]
            if MASK is None:
                state, has_grad = FOLD(
                    state, scores, factor, masks, values, weight, (row_part[:, None], column_part, GROUP), hyper
                )
            else:
                state, scores = MASK(
                    state, scores, factor, masks, values, weight, (row_part[:, None], column_part, GROUP), hyper
                )
        elif MASK is None:
            row_number, column_number = row_segment(begin, borders), column_segment(start, borders)
            state, has_grad = FOLD(state, scores, factor, (), values, weight, (row_number, column_number, GROUP), hyper)
        if MASK is not None:
            row_number, column_number = row_segment(begin, borders), column_segment(start, borders)
            state, has_grad = FOLD(state, scores, factor, (), values, weight, (row_number, column_number, GROUP), hyper)
        if READY is not None and masked:
            cold = tl.max((x_valid & (READY(state, row_part) == 0)).to(tl.int32), 0) > 0
        if flags_p is not None:
            set_flags(flags_p, begin, start, num_rows, num_columns, has_grad != 0, M, N)
    if FINISH is not None:
        state = FINISH(state, hyper)
    index = x_base + x_local
    stored, done = index < num_rows, tl.num_programs(1) == 1
    if tl.num_programs(1) > 1:
        place = tl.program_id(1).to(tl.int64) * num_rows + index
        store_state(splits_p, state, place * len(state), 1, stored, x_valid)
        done = arrives_last(counters_p + tl.program_id(0), tl.num_programs(1))
        if done:
            state = merge_splits(MERGE, splits_p, index, stored, num_rows, constant_state(NEUTRAL, M, SUM))
    if done:
        result, step = result_place(order_p, index, num_rows, len(state), VIEWS)
        store_state(out_p, state, result, step, stored, x_valid)
        if LOSS is not None:  # noqa: SIM102 - Triton would compile both
            if arrives_last(counters_p + tl.num_programs(0), tl.num_programs(0)):
                LOSS(out_p, formula_p, loss_p, None, num_rows // VIEWS, num_added, numbers, VALUE, FORM)
