"""Moments of a row's scores from the mean of the unit columns and their scatter matrix, in float64 throughout.

``blocked.closed_form.moments`` has the formulas and says why they take float64. Column j has class j here, so a row has
one positive score at most. A (D + 1, D) array holds a sum of vectors above a sum of their outer products.
"""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton.kernels.blocks import load_vectors
from dmlkernels.backends.triton.kernels.functions import load_row
from dmlkernels.backends.triton.kernels.gradients import store_gradient, through_norm
from dmlkernels.backends.triton.kernels.scalars import loop_bound


@triton.jit
def load_units(vectors, index, valid, start, DIM: tl.constexpr, BLOCK_D: tl.constexpr):
    """Numbers from ``start`` on of unit vectors; zeros where not valid. ``vectors``: pointer, stride, norms."""
    p, stride, norm_p = vectors
    norm = tl.load(norm_p + index, mask=valid, other=0.0)
    return (
        load_vectors((p, tl.program_id(0) * 0, index, valid, stride), start, tl.float64, DIM, BLOCK_D) * norm[:, None]
    )


@triton.jit
def load_line(p, start, DIM: tl.constexpr, BLOCK_D: tl.constexpr):
    """Numbers of one vector of float64."""
    d = start + tl.arange(0, BLOCK_D)
    return tl.load(p + d, mask=d < DIM, other=0.0)


@triton.jit
def load_first(vectors, start, DIM: tl.constexpr, BLOCK_D: tl.constexpr):
    """The first of the unit vectors, about which all are summed: of vectors that are near each other little is lost."""
    p, _, norm_p = vectors
    d = start + tl.arange(0, BLOCK_D)
    return tl.load(p + d, mask=d < DIM, other=0.0).to(tl.float64) * tl.load(norm_p)


@triton.jit(do_not_specialize=["count", "pitch"])
def scatter_kernel(
    v_p, norm_p, value_p, out_p, count, stride, pitch,  # value: (>= 2, pitch) rate and shift; out: (splits, D + 1, D)
    DIM: tl.constexpr, N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Sums over one split of the vectors: of unit vectors times their shift, and of outer products times their rate. If
    there are no values, of unit vectors less the first one. Every program has one block of the lower triangle."""
    vectors = (v_p, stride, norm_p)
    first, second = tl.program_id(0) * BLOCK_D, tl.program_id(1) * BLOCK_D
    if second <= first:
        split = tl.cdiv(tl.cdiv(count, N), tl.num_programs(2)) * N
        begin = tl.program_id(2) * split
        sums, products = tl.zeros([BLOCK_D], tl.float64), tl.zeros([BLOCK_D, BLOCK_D], tl.float64)
        for start in tl.range(loop_bound(begin), loop_bound(tl.minimum(begin + split, count)), N):
            index = start + tl.arange(0, N)
            valid = index < count
            x = load_units(vectors, index, valid, first, DIM, BLOCK_D)
            y = load_units(vectors, index, valid, second, DIM, BLOCK_D)
            if value_p is None:
                x = tl.where(valid[:, None], x - load_first(vectors, first, DIM, BLOCK_D)[None, :], 0.0)
                y -= load_first(vectors, second, DIM, BLOCK_D)[None, :]
                sums += tl.sum(x, 0)
            else:
                rate = tl.load(value_p + index, mask=valid, other=0.0)
                shift = tl.load(value_p + pitch + index, mask=valid, other=0.0)
                sums += tl.sum(x * shift[:, None], 0)
                x *= rate[:, None]
            products = tl.dot(tl.trans(x), y, products, input_precision="ieee", out_dtype=tl.float64)
        out_p += tl.program_id(2).to(tl.int64) * ((DIM + 1) * DIM)
        i, j = first + tl.arange(0, BLOCK_D), second + tl.arange(0, BLOCK_D)
        inside = (i < DIM)[:, None] & (j < DIM)[None, :]
        tl.store(out_p + (i + 1)[:, None] * DIM + j[None, :], products, mask=inside)
        if second < first:
            tl.store(out_p + (j + 1)[None, :] * DIM + i[:, None], products, mask=inside)
        if second == 0:
            tl.store(out_p + i, sums, mask=i < DIM)


@triton.jit(do_not_specialize=["count", "num_splits"])
def add_scatter_kernel(
    splits_p, v_p, norm_p, out_p, count, num_splits, CENTRED: tl.constexpr, DIM: tl.constexpr, BLOCK_D: tl.constexpr
):
    """Add the splits, always in the same order. CENTRED makes of sums about the first vector the mean of the vectors
    above their products about the mean."""
    first, second = tl.program_id(0) * BLOCK_D, tl.program_id(1) * BLOCK_D
    i, j = first + tl.arange(0, BLOCK_D), second + tl.arange(0, BLOCK_D)
    inside = (i < DIM)[:, None] & (j < DIM)[None, :]
    products = tl.zeros([BLOCK_D, BLOCK_D], tl.float64)
    of_rows, of_columns = tl.zeros([BLOCK_D], tl.float64), tl.zeros([BLOCK_D], tl.float64)
    for split in tl.range(0, loop_bound(num_splits)):
        split_p = splits_p + split * tl.full((), (DIM + 1) * DIM, tl.int64)
        products += tl.load(split_p + (i + 1)[:, None] * DIM + j[None, :], mask=inside, other=0.0)
        of_rows += load_line(split_p, first, DIM, BLOCK_D)
        of_columns += load_line(split_p, second, DIM, BLOCK_D)
    if CENTRED:
        products -= of_rows[:, None] * (of_columns / count)[None, :]
        of_columns = load_first((v_p, 0, norm_p), second, DIM, BLOCK_D) + of_columns / count
    tl.store(out_p + (i + 1)[:, None] * DIM + j[None, :], products, mask=inside)
    if first == 0:
        tl.store(out_p + j, of_columns, mask=j < DIM)


@triton.jit
def times_matrix(
    vectors, index, valid, mean_p, matrix_p, start,
    DIM: tl.constexpr, M: tl.constexpr, OUT: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Unit vectors, less the mean if there is one, times OUT columns of a (D, D) matrix."""
    total = tl.zeros([M, OUT], tl.float64)
    column = start + tl.arange(0, OUT)
    for inner in tl.range(0, DIM, BLOCK_D):
        x = load_units(vectors, index, valid, inner, DIM, BLOCK_D)
        if mean_p is not None:
            x -= load_line(mean_p, inner, DIM, BLOCK_D)[None, :]
        d = inner + tl.arange(0, BLOCK_D)
        mask = (d < DIM)[:, None] & (column < DIM)[None, :]
        matrix = tl.load(matrix_p + d[:, None] * DIM + column[None, :], mask=mask, other=0.0)
        total = tl.dot(x, matrix, total, input_precision="ieee", out_dtype=tl.float64)
    return total


@triton.jit
def moments_of(
    x, w, row, valid, column, has, saved_p, DIM: tl.constexpr, M: tl.constexpr, OUT: tl.constexpr, BLOCK_D: tl.constexpr
):
    """Mean and squared deviation of all scores of each row, and its positive score."""
    mean, deviation, score = tl.zeros([M], tl.float64), tl.zeros([M], tl.float64), tl.zeros([M], tl.float64)
    for start in tl.range(0, DIM, OUT):
        unit = load_units(x, row, valid, start, DIM, OUT)
        mean += tl.sum(unit * load_line(saved_p, start, DIM, OUT)[None, :], 1)
        deviation += tl.sum(unit * times_matrix(x, row, valid, None, saved_p + DIM, start, DIM, M, OUT, BLOCK_D), 1)
        score += tl.sum(unit * load_units(w, column, has, start, DIM, OUT), 1)
    return mean, deviation, score


@triton.jit
def positive_of(label_p, row, num_rows, num_columns):
    """Rows that count, the column of each row's class, and whether there is one."""
    label = tl.load(label_p + row, mask=row < num_rows, other=-1)
    has = (label >= 0) & (label < num_columns)
    return tl.where(has, label, 0), has


@triton.jit(do_not_specialize=["num_rows", "num_columns"])
def moments_kernel(
    x_p, x_norm_p, label_p, w_p, w_norm_p, saved_p, out_p, x_stride, w_stride, num_rows, num_columns,
    DIM: tl.constexpr, M: tl.constexpr, OUT: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Statistics of the rows; zeros of ignored ones, whose reciprocal norms are 0."""
    T: tl.constexpr = out_p.dtype.element_ty
    row = tl.program_id(0) * M + tl.arange(0, M)
    inside = row < num_rows
    counted = inside & (tl.load(x_norm_p + row, mask=inside, other=0.0) != 0.0)
    column, has = positive_of(label_p, row, num_rows, num_columns)
    x, w = (x_p, x_stride, x_norm_p), (w_p, w_stride, w_norm_p)
    mean, deviation, score = moments_of(x, w, row, counted, column, has, saved_p, DIM, M, OUT, BLOCK_D)
    positives = has.to(tl.float64)
    count = num_columns - positives
    step = (mean - score) * (positives / tl.maximum(count, 1.0))
    other_mean = tl.where(count > 0.0, mean + step, 0.0)
    deviation -= (score - other_mean) * (score - other_mean) * (positives * count / num_columns)
    deviation = tl.where(deviation < 0.0, 0.0, deviation)
    found = (positives, score, tl.zeros([M], tl.float64), count, other_mean, deviation)
    for k in tl.static_range(6):
        value = tl.where(counted, found[k], 0.0)
        tl.store(out_p + row.to(tl.int64) * 6 + k, value.to(T), mask=inside)


@triton.jit
def affine(statistics, gradient, KIND: tl.constexpr):
    """Slope of a row's scores of one kind: shift + rate (score - mean)."""
    shift = gradient[3 * KIND + 1].to(tl.float64) / tl.maximum(statistics[3 * KIND].to(tl.float64), 1.0)
    return shift, 2.0 * gradient[3 * KIND + 2].to(tl.float64)


@triton.jit(do_not_specialize=["num_rows", "num_columns", "pitch"])
def row_gradient_kernel(
    x_p, x_norm_p, label_p, w_p, w_norm_p, saved_p, statistics_p, gradient_p, value_p, out_p,  # value: (3, pitch)
    x_stride, w_stride, num_rows, num_columns, pitch,
    DIM: tl.constexpr, M: tl.constexpr, OUT: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Of each row: rate and shift of the slope about the mean of all scores; what its positive score has beyond that;
    and the gradient of the row, unless ``out`` is None."""
    row = tl.program_id(0) * M + tl.arange(0, M)
    inside = row < num_rows
    norm = tl.load(x_norm_p + row, mask=inside, other=0.0)
    counted = inside & (norm != 0.0)
    column, has = positive_of(label_p, row, num_rows, num_columns)
    x, w = (x_p, x_stride, x_norm_p), (w_p, w_stride, w_norm_p)
    mean, deviation, score = moments_of(x, w, row, counted, column, has, saved_p, DIM, M, OUT, BLOCK_D)
    statistics = load_row(statistics_p, row, counted, 6, 6)
    gradient = load_row(gradient_p, row, counted, 6, 6)
    positive_shift, positive_rate = affine(statistics, gradient, 0)
    shift, rate = affine(statistics, gradient, 1)
    extra = positive_shift + positive_rate * (score - statistics[1].to(tl.float64))
    extra -= shift + rate * (score - statistics[4].to(tl.float64))
    extra = tl.where(has, extra, 0.0)
    shift += rate * (mean - statistics[4].to(tl.float64))
    tl.store(value_p + row, rate, mask=inside)
    tl.store(value_p + pitch + row, shift, mask=inside)
    tl.store(value_p + 2 * pitch + row, extra, mask=inside)
    if out_p is not None:
        shift *= num_columns
        bracket = rate * deviation + shift * mean + extra * score
        for start in tl.range(0, DIM, OUT):
            of_unit = rate[:, None] * times_matrix(x, row, counted, None, saved_p + DIM, start, DIM, M, OUT, BLOCK_D)
            of_unit += shift[:, None] * load_line(saved_p, start, DIM, OUT)[None, :]
            of_unit += extra[:, None] * load_units(w, column, has, start, DIM, OUT)
            unit = load_units(x, row, counted, start, DIM, OUT)
            found = through_norm(of_unit, bracket, unit, norm)
            store_gradient(out_p, found, row, inside, start + tl.arange(0, OUT), DIM)


@triton.jit
def add_positives(
    total, x, label_p, extra_p, column, num_rows, start,
    DIM: tl.constexpr, N: tl.constexpr, OUT: tl.constexpr,
):  # fmt: skip
    """Add the unit rows of each column's class, times ``extra``."""
    first, last = tl.min(column, 0), tl.max(column, 0)
    for begin in tl.range(0, loop_bound(num_rows), N):
        row = begin + tl.arange(0, N)
        label = tl.load(label_p + row, mask=row < num_rows, other=-1)
        here = (label >= first) & (label <= last)
        if tl.max(here.to(tl.int32), 0) > 0:
            extra = tl.load(extra_p + row, mask=here, other=0.0)
            chosen = tl.where(column[:, None] == label[None, :], extra[None, :], 0.0)
            total = tl.dot(
                chosen, load_units(x, row, here, start, DIM, OUT), total, input_precision="ieee", out_dtype=tl.float64
            )
    return total


@triton.jit(do_not_specialize=["num_rows", "num_columns", "pitch"])
def column_gradient_kernel(
    w_p, w_norm_p, x_p, x_norm_p, label_p, value_p, saved_p, sums_p, out_p,  # sums: of the rows, as scatter_kernel has
    x_stride, w_stride, num_rows, num_columns, pitch,
    DIM: tl.constexpr, M: tl.constexpr, N: tl.constexpr, OUT: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    column = tl.program_id(0) * M + tl.arange(0, M)
    inside = column < num_columns
    norm = tl.load(w_norm_p + column, mask=inside, other=0.0)
    x, w = (x_p, x_stride, x_norm_p), (w_p, w_stride, w_norm_p)
    bracket = tl.zeros([M], tl.float64)
    BLOCKS: tl.constexpr = (DIM + OUT - 1) // OUT
    STEPS: tl.constexpr = 1 if BLOCKS == 1 else 2 * BLOCKS  # where one block is not all of D, once for the bracket
    for step in tl.range(0, STEPS):
        start = step % BLOCKS * OUT
        of_unit = times_matrix(w, column, inside, saved_p, sums_p + DIM, start, DIM, M, OUT, BLOCK_D)
        of_unit += load_line(sums_p, start, DIM, OUT)[None, :]
        of_unit = add_positives(of_unit, x, label_p, value_p + 2 * pitch, column, num_rows, start, DIM, N, OUT)
        unit = load_units(w, column, inside, start, DIM, OUT)
        if step < BLOCKS:
            bracket += tl.sum(of_unit * unit, 1)
        if step >= STEPS - BLOCKS:
            found = through_norm(of_unit, bracket, unit, norm)
            store_gradient(out_p, found, column, inside, start + tl.arange(0, OUT), DIM)
