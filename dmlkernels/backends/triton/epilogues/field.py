"""Potential-field energy."""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton.epilogues.base import Epilogue
from dmlkernels.backends.triton.epilogues.common import any_pair, cosines, counted, flat, merge_sum
from dmlkernels.backends.triton.kernels.scalars import log2, nan_max, number
from dmlkernels.statistics import Field


@triton.jit
def hills(hyper, T: tl.constexpr):
    """Scale of a negative's squared distance, and those between which its potential is not flat."""
    return number(hyper, 2, T), number(hyper, 4, T), number(hyper, 5, T)


@triton.jit
def bounds(positives, hyper, T: tl.constexpr):
    """The same of each pair."""
    scale, low, high = hills(hyper, T)
    scale = tl.where(positives, number(hyper, 1, T), scale)
    low = tl.where(positives, number(hyper, 3, T), low)
    return scale, low, tl.where(positives, float("inf"), high)


@triton.jit
def power(squared, low, high, scale, exponent):
    """Of the clamped squared distance, scaled first: the power of the scale alone may leave the range of float32. The
    comparisons let a NaN through."""
    clamped = tl.where(squared < low, low, tl.where(squared > high, high, squared))
    return tl.exp2(log2(clamped * scale) * exponent)


@triton.jit
def all_far(scores, factor, high):
    """Whether every squared distance of a plain tile is at least ``high``, and none is NaN."""
    nearest = nan_max(scores, 1) * flat(factor)
    return 2.0 - 2.0 * tl.max(tl.where(nearest == nearest, nearest, float("inf"))) >= high


@triton.jit
def fold_field(state, scores, factor, masks, values, weight, segments, hyper):
    T: tl.constexpr = scores.dtype
    exponent = number(hyper, 0, T) * -0.5
    scale, low, high = hills(hyper, T)
    has_grad = 0
    if len(masks) == 0:
        N: tl.constexpr = scores.shape[1]
        if all_far(scores, factor, high):
            energy = tl.full([scores.shape[0]], N, T) * power(high, low, high, scale, exponent)
        else:
            energy = tl.sum(power(2.0 - 2.0 * cosines(scores, factor), low, high, scale, exponent), 1)
            has_grad = 1
    else:
        scale, low, high = bounds(masks[0], hyper, T)
        squared = 2.0 - 2.0 * cosines(scores, factor)
        energies = power(squared, low, high, scale, exponent)
        energy = tl.sum(tl.where(masks[0], -energies, tl.where(masks[1], energies, 0.0)), 1)
        flat_pairs = (squared <= low) | (squared >= high)
        has_grad = any_pair(counted(masks) & (flat_pairs == 0))
    return (state[0] + energy,), has_grad


@triton.jit
def slope_field(scores, factor, masks, values, weight, segments, hyper):
    T: tl.constexpr = scores.dtype
    alpha = number(hyper, 0, T)
    scale, low, high = hills(hyper, T)
    if len(masks) > 0:
        scale, low, high = bounds(masks[0], hyper, T)
    squared = 2.0 - 2.0 * cosines(scores, factor)
    # Beyond its bounds, where it is flat, nothing is clamped: what comes out there is thrown away. NaN is not.
    slope = alpha * scale * tl.exp2(log2(squared * scale) * (alpha * -0.5 - 1.0))
    slope = tl.where((squared <= low) | (squared >= high), 0.0, slope)
    if len(masks) > 0:
        slope = tl.where(counted(masks), tl.where(masks[0], -slope, slope), 0.0)
    return slope * values[0]


@triton.jit
def field_values(statistics, gradient, hyper):
    return (gradient[0],)


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
    exact_scores=True,
    live_tiles=3,
)
