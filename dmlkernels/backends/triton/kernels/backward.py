"""Gradients of rows and of columns, a launch for each or one for both."""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton.kernels.blocks import places_of
from dmlkernels.backends.triton.kernels.gradient_block import COLUMNS, ROWS, write_gradient


@triton.jit(do_not_specialize=["num_owned", "num_streamed"])
def backward_kernel(
    owned_p, streamed_p, out_p,  # out: (owned, DIM), or (splits, owned, DIM) of unit vectors if PARTIAL
    raw_p,  # owned vectors as they are, where those above come in parts
    owned_values_p, streamed_values_p,  # (k, count): norms, then VALUES of each as a row and as a column
    owned_label_p, streamed_label_p, order_p, flags_p,  # order: of owned points; flags: of forward, if it is sparse
    num_owned, num_streamed, strides, borders, hyper,  # strides: of either side's vectors, of its values, of raw
    SLOPE: tl.constexpr, VALUES: tl.constexpr, LAYOUT: tl.constexpr, SIDE: tl.constexpr, PARTIAL: tl.constexpr,
    TURNED: tl.constexpr,  # whether tiles are (columns, rows) where columns are owned
    PRECISION: tl.constexpr,
    DIM: tl.constexpr, M: tl.constexpr, N: tl.constexpr, BLOCK_D: tl.constexpr, SLICE: tl.constexpr,
):  # fmt: skip
    """The gradient of one side."""
    write_gradient(
        owned_p, streamed_p, out_p, raw_p, owned_values_p, streamed_values_p, owned_label_p, streamed_label_p, order_p,
        flags_p, num_owned, num_streamed, strides, borders, hyper,
        tl.program_id(0), tl.program_id(1), tl.program_id(2), tl.num_programs(2),
        SLOPE, VALUES, LAYOUT, SIDE, PARTIAL, TURNED, PRECISION, DIM, M, N, BLOCK_D, SLICE,
    )  # fmt: skip


@triton.jit(do_not_specialize=["num_rows", "num_columns"])
def both_kernel(
    x_p, w_p, flags_p,  # tuples: vectors or parts, vectors as they are beside parts, gradient, values, labels
    num_rows, num_columns, strides, borders, hyper,  # strides: of vectors or parts, of values, of vectors; x, then w
    SLOPE: tl.constexpr, VALUES: tl.constexpr, LAYOUT: tl.constexpr, TURNED: tl.constexpr, PRECISION: tl.constexpr,
    DIM: tl.constexpr, X: tl.constexpr, W: tl.constexpr,  # tiles of rows and of columns
):  # fmt: skip
    """The gradients of both sides where that is little work; the first programs own rows."""
    slices = tl.cdiv(DIM, X.SLICE)
    programs = tl.cdiv(places_of(num_rows, 1, LAYOUT.views), X.M) * slices
    program = tl.program_id(0)
    x, x_raw_p, x_out_p, x_values_p, x_label_p = x_p
    w, w_raw_p, w_out_p, w_values_p, w_label_p = w_p
    x_stride, w_stride, x_pitch, w_pitch, x_raw_stride, w_raw_stride = strides
    if program < programs:
        write_gradient(
            x, w, x_out_p, x_raw_p, x_values_p, w_values_p, x_label_p, w_label_p, None, flags_p, num_rows, num_columns,
            (x_stride, w_stride, x_pitch, w_pitch, x_raw_stride), borders, hyper, program // slices, program % slices,
            program * 0, 1, SLOPE, VALUES, LAYOUT, ROWS, False, False, PRECISION, DIM, X.M, X.N, X.BLOCK_D, X.SLICE,
        )  # fmt: skip
    else:
        program -= programs
        slices = tl.cdiv(DIM, W.SLICE)
        write_gradient(
            w, x, w_out_p, w_raw_p, w_values_p, x_values_p, w_label_p, x_label_p, None, flags_p, num_columns, num_rows,
            (w_stride, x_stride, w_pitch, x_pitch, w_raw_stride), borders, hyper, program // slices, program % slices,
            program * 0, 1, SLOPE, VALUES, LAYOUT, COLUMNS, False, TURNED, PRECISION, DIM, W.M, W.N, W.BLOCK_D, W.SLICE,
        )  # fmt: skip
