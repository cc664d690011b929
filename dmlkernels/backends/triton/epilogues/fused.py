"""Moments, field and squares from the same scores, each where its segments of rows and columns meet."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from dmlkernels.backends.triton.epilogues.base import Epilogue
from dmlkernels.backends.triton.epilogues.field import field_hyper, fold_field, has_grad_field, slope_field
from dmlkernels.backends.triton.epilogues.moments import fold_moments, merge_moments, moments_values, slope_moments
from dmlkernels.backends.triton.epilogues.square import fold_square, slope_square
from dmlkernels.statistics import Field, Fused, Moments


@triton.jit
def any_of(mask):
    """Whether a vector of flags, (n, 1) or (1, n), has one set."""
    return tl.max(tl.max(mask.to(tl.int32), 1), 0) > 0


@triton.jit
def fold_fused(scores, own, other, weight, cell, hyper):
    row, column, _ = cell
    samples = row == 0
    proxies = samples & (column == 1)
    points = column <= 1
    nothing = tl.sum(tl.zeros_like(scores), 1)
    count, mean, deviation = nothing, nothing, nothing
    negative_count, negative_mean, negative_deviation = nothing, nothing, nothing
    if any_of(samples) & any_of(column == 1):
        count, mean, deviation, negative_count, negative_mean, negative_deviation = fold_moments(
            scores, own & proxies, other & proxies, weight, cell, hyper
        )
    energy, square = nothing, nothing
    if any_of(points):
        energy = fold_field(scores, own & points, other & points, weight, cell, hyper)[0]
    if any_of(column == 2):
        atoms = samples & (column == 2)
        square = fold_square(scores, own & atoms, other & atoms, weight, cell, hyper)[0]
    return count, mean, deviation, negative_count, negative_mean, negative_deviation, energy, square


@triton.jit
def merge_fused(a, b):
    return merge_moments(a, b) + (a[6] + b[6], a[7] + b[7])  # noqa: RUF005


@triton.jit
def slope_fused(scores, own, other, values, weight, cell, hyper, AXIS: tl.constexpr):
    row, column, _ = cell
    samples = row == 0
    proxies = samples & (column == 1)
    points = column <= 1
    slope = tl.zeros_like(scores)
    if any_of(samples) & any_of(column == 1):
        moments = (values[0], values[1], values[2], values[3], values[4], values[5])
        slope += slope_moments(scores, own & proxies, other & proxies, moments, weight, cell, hyper, AXIS)
    if any_of(points):
        slope += slope_field(scores, own & points, other & points, (values[6],), weight, cell, hyper, AXIS)
    if any_of(column == 2):
        atoms = samples & (column == 2)
        slope += slope_square(scores, own & atoms, other & atoms, (values[7],), weight, cell, hyper, AXIS)
    return slope


@triton.jit
def has_grad_fused(scores, own, other, cell, hyper):
    row, column, _ = cell
    apart = row != column  # samples and proxies, or atoms; also proxies and atoms, which is no loss
    points = column <= 1
    return ((own | other) & apart) | has_grad_field(scores, own & points, other & points, cell, hyper)


def fused_values(statistic: Fused, statistics: Tensor, gradient: Tensor) -> list[Tensor]:
    return [*moments_values(Moments(), statistics, gradient), gradient[:, 6], 2 * gradient[:, 7]]


def fused_hyper(statistic: Fused) -> list[float]:
    return field_hyper(Field(*statistic.parameters()))


FUSED = Epilogue(
    fold_fused,
    merge_fused,
    slope_fused,
    empty=(0.0,) * 8,
    num_values=8,
    values=fused_values,
    hyper=fused_hyper,
    weighted=True,
    has_grad=has_grad_fused,
    exact_scores=True,
    live_tiles=4,
)
