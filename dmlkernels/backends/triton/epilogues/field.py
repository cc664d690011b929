"""Potential-field energy."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from dmlkernels.backends.triton.epilogues.base import Epilogue
from dmlkernels.backends.triton.epilogues.square import merge_sum
from dmlkernels.backends.triton.kernels.scalars import number
from dmlkernels.statistics import Field


@triton.jit
def bounds(own, hyper, T: tl.constexpr):
    """Scale of each pair's squared distance, and the squared distances between which its potential is not flat."""
    scale = tl.where(own, number(hyper, 1, T), number(hyper, 2, T))
    low = tl.where(own, number(hyper, 3, T), number(hyper, 4, T))
    high = tl.where(own, float("inf"), number(hyper, 5, T))
    return scale, low, high


@triton.jit
def power(squared, low, high, scale, exponent):
    """Of the clamped squared distance, scaled first: the power of the scale alone may leave the range of float32. The
    comparisons let a NaN through."""
    clamped = tl.where(squared < low, low, tl.where(squared > high, high, squared))
    return tl.exp2(tl.log2(clamped * scale) * exponent)


@triton.jit
def fold_field(scores, own, other, weight, cell, hyper):
    T: tl.constexpr = scores.dtype
    scale, low, high = bounds(own, hyper, T)
    energy = power(2.0 - 2.0 * scores, low, high, scale, number(hyper, 0, T) * -0.5)
    return (tl.sum(tl.where(own, -energy, tl.where(other, energy, 0.0)), 1),)


@triton.jit
def slope_field(scores, own, other, values, weight, cell, hyper, AXIS: tl.constexpr):
    T: tl.constexpr = scores.dtype
    alpha = number(hyper, 0, T)
    scale, low, high = bounds(own, hyper, T)
    squared = 2.0 - 2.0 * scores
    slope = alpha * scale * power(squared, low, high, scale, alpha * -0.5 - 1.0)
    flat = (squared <= low) | (squared >= high)
    return tl.where((own | other) & (flat == 0), tl.where(own, -slope, slope) * values[0], 0.0)


@triton.jit
def has_grad_field(scores, own, other, cell, hyper):
    _, low, high = bounds(own, hyper, scores.dtype)
    squared = 2.0 - 2.0 * scores
    flat = (squared <= low) | (squared >= high)
    return (own | other) & (flat == 0)


def field_values(statistic: Field, statistics: Tensor, gradient: Tensor) -> list[Tensor]:
    return [gradient[:, 0]]


def field_hyper(statistic: Field) -> list[float]:
    """alpha, scales of squared distances in wells and hills, squared distances: wells from, hills from and to."""
    return [statistic.alpha, statistic.well_scale, statistic.hill_scale, statistic.wells[0], *statistic.hills]


FIELD = Epilogue(
    fold_field,
    merge_sum,
    slope_field,
    empty=(0.0,),
    num_values=1,
    values=field_values,
    hyper=field_hyper,
    has_grad=has_grad_field,
    exact_scores=True,
    live_tiles=2,
)
