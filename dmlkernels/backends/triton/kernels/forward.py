"""Statistics of rows: a program owns a block of rows and streams a share of the columns."""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton.kernels.blocks import (
    alive,
    column_segment,
    compute_type,
    load_scored,
    load_vectors,
    meeting,
    padded_group,
    row_segment,
    score_tile,
    sum_type,
)
from dmlkernels.backends.triton.kernels.flags import set_flag
from dmlkernels.backends.triton.kernels.scalars import loop_bound, scalar


@triton.jit
def empty_state(EMPTY: tl.constexpr, M: tl.constexpr, SUM: tl.constexpr):
    """The neutral summary of M rows."""
    state = ()
    for k in tl.static_range(len(EMPTY)):
        state = state + (tl.full([M], EMPTY[k], SUM),)
    return state


@triton.jit
def store_state(out_p, state, offset, stored, valid, WIDTH: tl.constexpr):
    """Write each row's summary; zeros for rows that take no part."""
    for k in tl.static_range(WIDTH):
        tl.store(out_p + offset * WIDTH + k, tl.where(valid, state[k], 0.0), mask=stored)


@triton.jit(do_not_specialize=["num_rows", "num_columns"])
def forward_kernel(
    x_p, w_p, out_p,  # out: (shares, rows, WIDTH)
    x_norm_p, w_numbers_p,  # w_numbers: (1 + WEIGHTS, columns), norms first
    x_label_p, w_label_p, flags_p,  # flags: for HAS_GRAD to set, if any
    num_rows, num_columns, x_stride, w_stride, borders, hyper,
    FOLD: tl.constexpr, MERGE: tl.constexpr, HAS_GRAD: tl.constexpr, EMPTY: tl.constexpr, WEIGHTS: tl.constexpr,
    WITHIN: tl.constexpr, GROUP: tl.constexpr, PRECISION: tl.constexpr,
    DIM: tl.constexpr, M: tl.constexpr, N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    TYPE: tl.constexpr = compute_type(x_p.dtype.element_ty, w_p.dtype.element_ty)
    SUM: tl.constexpr = sum_type(TYPE)
    row = tl.program_id(0) * M + tl.arange(0, M)
    x_index, x_label, x_valid = alive(x_label_p, row, num_rows, 1)
    x_norm = tl.load(x_norm_p + x_index, mask=x_valid, other=0.0)
    x = load_scored(x_p, x_index, x_valid, x_stride, x_norm, 0, True, TYPE, DIM, BLOCK_D) if DIM <= BLOCK_D else 0

    places = num_columns // GROUP * padded_group(GROUP)
    share = tl.cdiv(tl.cdiv(places, N), tl.num_programs(1)) * N
    first = tl.program_id(1) * share
    state = empty_state(EMPTY, M, SUM)
    for start in tl.range(loop_bound(first), loop_bound(tl.minimum(first + share, places)), N):
        column = start + tl.arange(0, N)
        w_index, w_label, w_valid = alive(w_label_p, column, num_columns, GROUP)
        w_norm = tl.load(w_numbers_p + w_index, mask=w_valid, other=0.0)
        w = load_vectors(w_p, w_index, w_valid, w_stride, 0, TYPE, DIM, BLOCK_D) if DIM <= BLOCK_D else 0
        scores = score_tile(
            x, w, (x_p, x_index, x_valid, x_stride, x_norm), (w_p, w_index, w_valid, w_stride, w_norm),
            True, TYPE, DIM, BLOCK_D, PRECISION,
        )  # fmt: skip
        own, other = meeting(x_label, x_valid, w_label, w_valid, x_label_p is not None)
        if WITHIN:
            own = own & (row[:, None] != column[None, :])
        weight = (tl.load(w_numbers_p + num_columns + w_index, mask=w_valid, other=0.0)[None, :],) if WEIGHTS else ()
        row_part, column_part = row_segment(row, borders)[:, None], column_segment(column, borders)[None, :]
        state = MERGE(state, FOLD(scores, own, other, weight, (row_part, column_part, GROUP), hyper))
        if HAS_GRAD is not None:
            has_grad = tl.max(HAS_GRAD(scores, own, other, (row_part, column_part, GROUP), hyper).to(tl.int32)) > 0
            set_flag(flags_p, tl.program_id(0) * M, scalar(start), num_columns, has_grad)
    offset = tl.program_id(1).to(tl.int64) * num_rows + row
    store_state(out_p, state, offset, row < num_rows, x_valid, len(EMPTY))


@triton.jit(do_not_specialize=["num_rows", "num_shares"])
def merge_kernel(
    shares_p, out_p, label_p, num_rows, num_shares, MERGE: tl.constexpr, EMPTY: tl.constexpr, M: tl.constexpr
):
    """Merge the shares of every row, always in the same order."""
    row = tl.program_id(0) * M + tl.arange(0, M)
    _, _, valid = alive(label_p, row, num_rows, 1)
    WIDTH: tl.constexpr = len(EMPTY)
    state = empty_state(EMPTY, M, out_p.dtype.element_ty)
    for share in tl.range(0, loop_bound(num_shares)):
        p = shares_p + (share * num_rows.to(tl.int64) + row) * WIDTH
        part = ()
        for k in tl.static_range(WIDTH):
            part = part + (tl.load(p + k, mask=valid, other=0.0),)
        state = MERGE(state, part)
    store_state(out_p, state, row.to(tl.int64), row < num_rows, valid, WIDTH)
