"""What margins depend on: norms of samples, and cosines of samples with the proxies of their classes."""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton.kernels.blocks import load_vectors
from dmlkernels.backends.triton.kernels.gradients import store_gradient
from dmlkernels.backends.triton.kernels.labels import IGNORED, counted_rows
from dmlkernels.backends.triton.kernels.norms import SHRINK, norms_of, squares_of
from dmlkernels.backends.triton.kernels.scalars import loop_bound, number


@triton.jit
def counted_block(p, label_p, count, stride, M: tl.constexpr):
    """This program's samples as a block of vectors; ignored ones are not valid."""
    row = tl.program_id(0) * M + tl.arange(0, M)
    label = tl.load(label_p + row, mask=row < count, other=IGNORED)
    return (p, tl.program_id(0) * 0, row, label != IGNORED, stride), label


@triton.jit(do_not_specialize=["count"])
def norms_kernel(
    x_p, label_p, out_p, count, stride, DIM: tl.constexpr, M: tl.constexpr, BLOCK_D: tl.constexpr
):  # fmt: skip
    """L2 norms; 0 of ignored rows."""
    block, _ = counted_block(x_p, label_p, count, stride, M)
    total, shrunk_total, WIDE = squares_of(block, False, DIM, M, BLOCK_D)
    norm = tl.sqrt(total)
    if WIDE:
        norm = tl.where(norm == float("inf"), tl.sqrt(shrunk_total) / SHRINK, norm)
    tl.store(out_p + block[2], norm.to(out_p.dtype.element_ty), mask=block[2] < count)


@triton.jit(do_not_specialize=["count"])
def norms_slope_kernel(
    x_p, label_p, norm_p, gradient_p, out_p, count, stride, DIM: tl.constexpr, M: tl.constexpr, BLOCK_D: tl.constexpr
):  # fmt: skip
    """Gradient of the vectors from that of their norms; of a vector of zeros, zeros."""
    T: tl.constexpr = norm_p.dtype.element_ty
    block, _ = counted_block(x_p, label_p, count, stride, M)
    inside = block[2] < count
    norm = tl.load(norm_p + block[2], mask=inside, other=0.0)
    gradient = tl.load(gradient_p + block[2], mask=inside, other=0.0)
    factor = tl.where(block[3] & (norm != 0.0), gradient / tl.where(norm == 0.0, 1.0, norm), 0.0)
    for start in tl.range(0, DIM, BLOCK_D):
        found = load_vectors(block, start, T, DIM, BLOCK_D) * factor[:, None]
        store_gradient(out_p, found, block[2], inside, start + tl.arange(0, BLOCK_D), DIM)


@triton.jit(do_not_specialize=["count", "num_columns"])
def positive_cosines_kernel(
    x_p, w_p, label_p, out_p, count, num_columns, x_stride, w_stride,
    DIM: tl.constexpr, M: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Of each sample with the column that its label numbers, or the nearest number; 0 of ignored rows."""
    block, label = counted_block(x_p, label_p, count, x_stride, M)
    column = tl.minimum(tl.maximum(label, 0), num_columns - 1)
    positive = (w_p, tl.program_id(0) * 0, column, block[3], w_stride)
    product = tl.zeros([M], tl.float64)
    x_norm, w_norm = norms_of(block, tl.float64, DIM, M, BLOCK_D), norms_of(positive, tl.float64, DIM, M, BLOCK_D)
    for start in tl.range(0, DIM, BLOCK_D):
        x = load_vectors(block, start, tl.float64, DIM, BLOCK_D) * x_norm[:, None]
        w = load_vectors(positive, start, tl.float64, DIM, BLOCK_D) * w_norm[:, None]
        product += tl.sum(x * w, 1)
    tl.store(out_p + block[2], product.to(out_p.dtype.element_ty), mask=block[2] < count)


@triton.jit
def held(x, low, high):
    """Numbers between two bounds; NaN stays."""
    return tl.where(x < low, low, tl.where(x > high, high, x))


@triton.jit
def load_counted(p, label_p, start, count, BLOCK: tl.constexpr):
    """Values of rows as float64, and which rows there are and count."""
    row = start + tl.arange(0, BLOCK)
    inside = row < count
    return tl.load(p + row, mask=inside, other=0.0).to(tl.float64), row, inside, counted_rows(label_p, row, inside)


@triton.jit
def moved(running_p, found, momentum):
    """A running value moved towards that of the batch, unless that is not finite."""
    old = tl.load(running_p + tl.arange(0, 1)).to(tl.float64)
    finite = (found - found) == 0.0
    return tl.where(finite, momentum * old + (1.0 - momentum) * found, old)


@triton.jit(do_not_specialize=["count"])
def quality_kernel(
    norm_p, label_p, mean_p, std_p, out_p, found_p, count, numbers,
    MEAN_GIVEN: tl.constexpr, STD_GIVEN: tl.constexpr, UPDATE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """AdaFace's quality of every sample, and the mean and standard deviation that it is from: those of the batch, or
    numbers if GIVEN, or tensors; with UPDATE the latter moved towards the former. One program for all rows."""
    one = tl.arange(0, 1)
    low, high, eps = number(numbers, 0, tl.float64), number(numbers, 1, tl.float64), number(numbers, 2, tl.float64)
    concentration, momentum = number(numbers, 3, tl.float64), number(numbers, 4, tl.float64)
    sums, counts = tl.zeros([BLOCK], tl.float64), tl.zeros([BLOCK], tl.float64)
    for start in tl.range(0, loop_bound(count), BLOCK):
        norm, row, inside, counted = load_counted(norm_p, label_p, start, count, BLOCK)
        sums += tl.where(counted, held(norm, low, high), 0.0)
        counts += counted.to(tl.float64)
    total = tl.sum(counts, 0) + tl.zeros([1], tl.float64)
    batch_mean = tl.sum(sums, 0) / total
    squares = tl.zeros([BLOCK], tl.float64)
    for start in tl.range(0, loop_bound(count), BLOCK):
        norm, row, inside, counted = load_counted(norm_p, label_p, start, count, BLOCK)
        deviation = tl.where(counted, held(norm, low, high) - batch_mean, 0.0)
        squares += deviation * deviation
    batch_std = tl.sqrt(tl.sum(squares, 0) / tl.maximum(total - 1.0, 1.0))
    mean, std = batch_mean, batch_std
    if UPDATE:
        mean, std = moved(mean_p, batch_mean, momentum), moved(std_p, batch_std, momentum)
    else:
        if MEAN_GIVEN:
            mean = number(numbers, 5, tl.float64) + tl.zeros([1], tl.float64)
        elif mean_p is not None:
            mean = tl.load(mean_p + one).to(tl.float64)
        if STD_GIVEN:
            std = number(numbers, 6, tl.float64) + tl.zeros([1], tl.float64)
        elif std_p is not None:
            std = tl.load(std_p + one).to(tl.float64)
    T: tl.constexpr = out_p.dtype.element_ty
    tl.store(found_p + one, mean)
    tl.store(found_p + 1 + one, std)
    for start in tl.range(0, loop_bound(count), BLOCK):
        norm, row, inside, counted = load_counted(norm_p, label_p, start, count, BLOCK)
        quality = held((held(norm, low, high) - mean) / (std + eps) * concentration, -1.0, 1.0)
        tl.store(out_p + row, quality.to(T), mask=inside)


@triton.jit(do_not_specialize=["count"])
def curricular_kernel(
    cosine_p, label_p, poison_p, hardness_p, out_p, found_p, count, numbers,  # out: (count, 3)
    UPDATE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Scale, threshold cos(theta + margin) and hardness of every sample; the hardness is a number, or a tensor, with
    UPDATE moved towards the mean cosine. One program for all rows."""
    one = tl.arange(0, 1)
    scale, cosine_of, sine_of = (
        number(numbers, 0, tl.float64), number(numbers, 1, tl.float64), number(numbers, 2, tl.float64),
    )  # fmt: skip
    hardness = number(numbers, 3, tl.float64) + tl.zeros([1], tl.float64)
    if UPDATE:
        sums, counts = tl.zeros([BLOCK], tl.float64), tl.zeros([BLOCK], tl.float64)
        for start in tl.range(0, loop_bound(count), BLOCK):
            cosine, row, inside, counted = load_counted(cosine_p, label_p, start, count, BLOCK)
            sums += tl.where(counted, cosine, 0.0)
            counts += counted.to(tl.float64)
        mean = tl.sum(sums, 0) / (tl.sum(counts, 0) + tl.zeros([1], tl.float64))
        mean += tl.load(poison_p + one).to(tl.float64)
        hardness = moved(hardness_p, mean, number(numbers, 4, tl.float64))
    elif hardness_p is not None:
        hardness = tl.load(hardness_p + one).to(tl.float64)
    tl.store(found_p + one, hardness)
    T: tl.constexpr = out_p.dtype.element_ty
    for start in tl.range(0, loop_bound(count), BLOCK):
        cosine, row, inside, counted = load_counted(cosine_p, label_p, start, count, BLOCK)
        squared = (1.0 - cosine) * (1.0 + cosine)
        threshold = cosine * cosine_of - tl.sqrt(tl.where(squared < 0.0, 0.0, squared)) * sine_of
        nothing = tl.zeros([BLOCK], tl.float64)
        tl.store(out_p + 3 * row, (nothing + scale).to(T), mask=inside)
        tl.store(out_p + 3 * row + 1, threshold.to(T), mask=inside)
        tl.store(out_p + 3 * row + 2, (nothing + hardness).to(T), mask=inside)
