"""Count, mean and squared deviation of genuine and impostor scores."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from dmlkernels.backends.triton.epilogues.base import Epilogue
from dmlkernels.statistics import Moments


@triton.jit
def summary(scores, mask):
    """Of the masked scores of each row, in two passes over registers: nothing cancels."""
    count = tl.sum(mask.to(scores.dtype), 1)
    mean = tl.sum(tl.where(mask, scores, 0.0), 1) / tl.maximum(count, 1.0)
    deviation = tl.where(mask, scores - mean[:, None], 0.0)
    return count, mean, tl.sum(deviation * deviation, 1)


@triton.jit
def fold_moments(scores, own, other, weight, cell, hyper):
    return summary(scores, own) + summary(scores, other)


@triton.jit
def chan(count_a, mean_a, deviation_a, count_b, mean_b, deviation_b):
    count = count_a + count_b
    share = count_b / tl.maximum(count, 1.0)
    step = mean_b - mean_a
    return count, mean_a + step * share, deviation_a + deviation_b + step * step * (count_a * share)


@triton.jit
def merge_moments(a, b):
    return chan(a[0], a[1], a[2], b[0], b[1], b[2]) + chan(a[3], a[4], a[5], b[3], b[4], b[5])


@triton.jit
def slope_moments(scores, own, other, values, weight, cell, hyper, AXIS: tl.constexpr):
    positive_shift, positive_rate, positive_mean, shift, rate, mean = values
    genuine = positive_shift + positive_rate * (scores - positive_mean)
    impostor = shift + rate * (scores - mean)
    return tl.where(own, genuine, tl.where(other, impostor, 0.0))


def moments_values(statistic: Moments, statistics: Tensor, gradient: Tensor) -> list[Tensor]:
    values = []
    for kind in (0, 1):
        shift, rate = statistic.affine(statistics, gradient, kind)
        values += [shift, rate, statistics[:, 3 * kind + 1]]
    return values


MOMENTS = Epilogue(
    fold_moments, merge_moments, slope_moments, empty=(0.0,) * 6, num_values=6, values=moments_values, live_tiles=2
)
