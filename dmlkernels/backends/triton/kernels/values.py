"""What backward needs before it scores: values of each row, points again in forward's order, parts of vectors."""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton.kernels.functions import load_row
from dmlkernels.backends.triton.kernels.order import load_point
from dmlkernels.backends.triton.kernels.parts import split


@triton.jit
def store_behind(p, values, row, inside, FIRST: tl.constexpr):
    """Of a row's values those from FIRST on, unless ``p`` is None."""
    if p is not None:
        COUNT: tl.constexpr = len(values) - FIRST
        for k in tl.static_range(COUNT):
            tl.store(p + row.to(tl.int64) * COUNT + k, values[FIRST + k], mask=inside)


@triton.jit
def store_values(
    statistics_p, gradient_p, formula_p, of_given_p, kept_p, order_p, x_p, w_p, out_p, vectors_p,
    num_rows, total, pitch, strides, hyper, numbers,
    FROM: tl.constexpr, WIDTH: tl.constexpr, COUNT: tl.constexpr, GIVEN: tl.constexpr, WEIGHTED: tl.constexpr,
    VIEWS: tl.constexpr, DIM: tl.constexpr, BOUND: tl.constexpr, SLOPES: tl.constexpr, SLOPE: tl.constexpr,
    FORM: tl.constexpr, M: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Values of this program's rows, and its points: see ``values_kernel``."""
    T: tl.constexpr = out_p.dtype.element_ty
    place = tl.program_id(0) * M + tl.arange(0, M)
    is_row = place < num_rows
    source = place
    if order_p is not None:
        source = tl.where(is_row, tl.load(order_p + place, mask=is_row, other=0), place)
    statistics = load_row(statistics_p, source, is_row, WIDTH, WIDTH)
    if SLOPES is None:
        gradient = load_row(gradient_p, source, is_row, WIDTH, WIDTH)
    else:
        gradient = SLOPES(statistics, gradient_p, formula_p, source, is_row, numbers, SLOPE, FORM)
        store_behind(of_given_p, gradient, source, is_row, WIDTH)
    found = FROM(statistics, gradient, hyper)
    step = pitch.to(tl.int64)
    for view in tl.static_range(VIEWS):
        index = place + view * num_rows
        # The last view is followed by zeros, and points by columns.
        there = is_row if view + 1 < VIEWS else index < pitch
        for k in tl.static_range(1 + GIVEN):
            kept = tl.load(kept_p + k * step + index, mask=there, other=0.0)
            tl.store(out_p + k * step + index, kept, mask=there)
        for k in tl.static_range(COUNT):
            value = tl.where(is_row, found[view * COUNT + k], 0.0).to(T)
            tl.store(out_p + (1 + GIVEN + k) * step + index, value, mask=there)
        if WEIGHTED:
            kept = tl.load(kept_p + (1 + GIVEN) * step + index, mask=there, other=0.0)
            tl.store(out_p + (1 + GIVEN + COUNT) * step + index, kept, mask=there)
        if BOUND is not None:
            bound = tl.where(is_row, BOUND(found, hyper), 0.0).to(T)
            tl.store(out_p + (1 + GIVEN + COUNT + WEIGHTED) * step + index, bound, mask=there)
    if vectors_p is not None:
        for start in tl.range(0, DIM, BLOCK_D):
            d = start + tl.arange(0, BLOCK_D)
            values = load_point(x_p, w_p, source, num_rows, total, d, strides, vectors_p.dtype.element_ty, DIM)
            out = vectors_p + place.to(tl.int64)[:, None] * DIM + d[None, :]
            tl.store(out, values, mask=(place < total)[:, None] & (d < DIM)[None, :])


@triton.jit
def split_block(
    block, p, norm_p, out_p, count, stride, out_stride,
    PARTS: tl.constexpr, SCALED: tl.constexpr, DIM: tl.constexpr, M: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Parts of a block of vectors whose reciprocal norms are in memory."""
    base, local = block * M, tl.arange(0, M)
    norm = tl.load(norm_p + base + local, mask=base + local < count, other=0.0)
    split(base, local, norm, p, out_p, count, stride, out_stride, PARTS, DIM, BLOCK_D, SCALED)


@triton.jit(do_not_specialize=["num_rows", "total", "pitch"])
def values_kernel(
    statistics_p, gradient_p,  # gradient: of the statistics, or of the loss
    formula_p, of_given_p,  # of the loss's formula, a tuple; of_given: the gradient of what it is given
    kept_p, order_p, x_p, w_p, out_p,  # kept: norms, and what the caller gave
    vectors_p,  # of points
    x_parts_p, w_norm_p, w_parts_p,  # of PARTS
    num_rows, total, pitch, strides, hyper, numbers,  # strides: of rows, of columns, of the parts of each
    FROM: tl.constexpr, WIDTH: tl.constexpr, COUNT: tl.constexpr, GIVEN: tl.constexpr, WEIGHTED: tl.constexpr,
    VIEWS: tl.constexpr, DIM: tl.constexpr, BOUND: tl.constexpr, SLOPES: tl.constexpr, SLOPE: tl.constexpr,
    FORM: tl.constexpr, M: tl.constexpr, BLOCK_D: tl.constexpr,
    PARTS: tl.constexpr, SCALED: tl.constexpr, SPLIT_M: tl.constexpr, SPLIT_D: tl.constexpr,
):  # fmt: skip
    """Rows of ``out`` (k, pitch): norms, GIVEN, COUNT values that FROM makes of statistics and gradient, weights if
    WEIGHTED, and last the BOUND of slopes if there is one. The gradient of the statistics is given, or SLOPES finds it
    from the loss's: see ``formulas``. Points are taken in ``order``, and copied to ``vectors``, which holds ``total``
    points and columns. Further programs split rows, then columns, into PARTS."""
    block, blocks = tl.program_id(0), tl.cdiv(pitch - num_rows * (VIEWS - 1), M)
    if PARTS == 0 or block < blocks:
        store_values(
            statistics_p, gradient_p, formula_p, of_given_p, kept_p, order_p, x_p, w_p, out_p, vectors_p,
            num_rows, total, pitch, strides, hyper, numbers,
            FROM, WIDTH, COUNT, GIVEN, WEIGHTED, VIEWS, DIM, BOUND, SLOPES, SLOPE, FORM, M, BLOCK_D,
        )  # fmt: skip
    else:
        block, blocks = block - blocks, tl.cdiv(num_rows, SPLIT_M)
        if block < blocks:
            split_block(
                block, x_p, kept_p, x_parts_p, num_rows, strides[0], strides[2], PARTS, SCALED, DIM, SPLIT_M, SPLIT_D
            )
        else:
            split_block(
                block - blocks, w_p, w_norm_p, w_parts_p, total - num_rows, strides[1], strides[3],
                PARTS, SCALED, DIM, SPLIT_M, SPLIT_D,
            )  # fmt: skip


@triton.jit(do_not_specialize=["num_rows"])
def slope_kernel(
    statistics_p, gradient_p, formula_p, of_given_p, out_p, num_rows, numbers,
    SLOPES: tl.constexpr, SLOPE: tl.constexpr, FORM: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradient of WIDTH statistics by itself and, unless ``of_given`` is None, of what is given."""
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = row < num_rows
    statistics = load_row(statistics_p, row, inside, WIDTH, WIDTH)
    found = SLOPES(statistics, gradient_p, formula_p, row, inside, numbers, SLOPE, FORM)
    for k in tl.static_range(WIDTH):
        tl.store(out_p + row.to(tl.int64) * WIDTH + k, found[k], mask=inside)
    store_behind(of_given_p, found, row, inside, WIDTH)
