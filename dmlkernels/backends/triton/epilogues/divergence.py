"""Softmax sums and mean logit differences of two views, which lie one after the other among the rows."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from dmlkernels.backends.triton.epilogues.base import Epilogue
from dmlkernels.backends.triton.epilogues.logsumexp import finite
from dmlkernels.backends.triton.kernels.scalars import number
from dmlkernels.statistics import Divergence


@triton.jit
def over_views(values, ROWS: tl.constexpr):
    """Sum over the views of each row, given back to both. Rows are along the axis ROWS."""
    if ROWS == 0:
        pairs = tl.reshape(values, [values.shape[0] // 2, 2, values.shape[1]])
        total = tl.broadcast_to(tl.expand_dims(tl.sum(pairs, 1), 1), pairs.shape)
    else:
        pairs = tl.reshape(values, [values.shape[0], values.shape[1] // 2, 2])
        total = tl.broadcast_to(tl.expand_dims(tl.sum(pairs, 2), 2), pairs.shape)
    return tl.reshape(total, values.shape)


@triton.jit
def view_sign(values, ROWS: tl.constexpr):
    """+1 for the first view and -1 for the second, along the rows."""
    sign = (1 - 2 * (tl.arange(0, values.shape[ROWS]) % 2)).to(values.dtype)
    return tl.expand_dims(sign, 1 - ROWS)


@triton.jit
def over_pairs(values):
    """The same for one number a row."""
    return tl.reshape(over_views(tl.expand_dims(values, 1), 0), values.shape)


@triton.jit
def signed(values):
    return values * tl.reshape(view_sign(tl.expand_dims(values, 1), 0), values.shape)


@triton.jit
def means_or_divergence(last):
    """Takes (mean, mean') of two rows to (mean, divergence) and back."""
    first = signed(tl.full(last.shape, 1.0, last.dtype)) > 0
    return tl.where(first, last, over_pairs(tl.where(first, last, 0.0)) - last)


@triton.jit
def logits_of(scores, hyper):
    """Rounded by itself, since the highest less itself must be 0: a compiler that sees the product beside the
    subtraction fuses them. NaN stays NaN."""
    logits = scores * number(hyper, 0, scores.dtype)
    return tl.where(logits < -3e38, -3e38, logits)


@triton.jit
def fold_divergence(scores, own, other, weight, cell, hyper):
    logits = logits_of(scores, hyper)
    highest = tl.max(tl.where(other, logits, float("-inf")), 1)
    lower = logits - finite(highest)[:, None]
    difference = over_views(view_sign(lower, 0) * lower, 0)
    weights = tl.where(other, tl.exp(lower), 0.0)
    tied = tl.sum(tl.where(lower == 0.0, weights, 0.0), 1)
    rest = tl.sum(tl.where(lower == 0.0, 0.0, weights), 1) + tl.maximum(tied - 1.0, 0.0)
    mean = tl.sum(weights * difference, 1) / (1.0 + rest)
    return highest, rest, means_or_divergence(mean)


@triton.jit
def merge_divergence(a, b):
    highest = tl.maximum(a[0], b[0])
    lower_a, lower_b = a[0] - finite(highest), b[0] - finite(highest)
    weight_a, weight_b = tl.exp(lower_a), tl.exp(lower_b)
    rest = weight_a * a[1] + weight_b * b[1] + weight_a * weight_b  # one of the two weights is 1
    mean_a = means_or_divergence(a[2]) + over_pairs(signed(finite(lower_a)))
    mean_b = means_or_divergence(b[2]) + over_pairs(signed(finite(lower_b)))
    mean = (weight_a * (1.0 + a[1]) * mean_a + weight_b * (1.0 + b[1]) * mean_b) / (1.0 + rest)
    return highest, rest, means_or_divergence(mean)


@triton.jit
def slope_divergence(scores, own, other, values, weight, cell, hyper, AXIS: tl.constexpr):
    highest, inverse, log_ratio, mean, of_apart, of_total = values
    lower = logits_of(scores, hyper) - highest
    sign = view_sign(lower, 1 - AXIS)
    difference = over_views(sign * lower, 1 - AXIS)
    p = tl.where(other, tl.exp(lower) * inverse, 0.0)  # of this view
    total = over_views(p, 1 - AXIS)
    apart = first_less_second(p, total, sign, difference - log_ratio)
    slope = sign * (of_apart * apart + of_total * total)
    through_target = (of_total + sign * of_apart) * p * (difference - mean)
    return slope + through_target * number(hyper, 1, scores.dtype)


@triton.jit
def first_less_second(p, total, sign, log_odds):
    """First view's p less the second's, without their cancelling."""
    # total * tanh(log_odds / 2), by its Taylor series where so many terms suffice
    half = log_odds * 0.5
    square = half * half
    series = -17.0 / 315
    if p.dtype == tl.float64:
        series += square * (62.0 / 2835 + square * (square * (21844.0 / 6081075) - 1382.0 / 155925))
    series = square * (square * (square * series + 2.0 / 15) - 1.0 / 3)
    return tl.where(square < 1.0 / 64, total * (half + half * series), sign * (2.0 * p - total))


def divergence_values(
    statistic: Divergence,
    statistics: Tensor,  # (2 R, 3)
    gradient: Tensor,
) -> list[Tensor]:
    """Of each view: its highest logit and 1 / sum exp(l - h). Of both: the log of their ratio. Of each: its mean
    difference. Of both: what the difference of the views' p is multiplied by, and what their sum is."""
    highest, rest, last = statistics.unflatten(0, (-1, 2)).unbind(2)  # (R, 2)
    mean, divergence = last.unbind(1)
    of_mean, of_divergence = (gradient[:, 2] * statistic.scale).view(-1, 2).unbind(1)
    log_ratio = ((rest[:, 0] - rest[:, 1]) / (1 + rest[:, 1])).log1p()
    of_both = (log_ratio, of_divergence + of_mean / 2, of_mean / 2)
    log_ratio, of_apart, of_total = (number.repeat_interleave(2) for number in of_both)
    means = torch.stack((mean, mean - divergence), dim=1).flatten()
    return [highest.flatten(), 1 / (1 + rest).flatten(), log_ratio, means, of_apart, of_total]


def divergence_hyper(statistic: Divergence) -> list[float]:
    """The scale, and whether the targets are differentiated too."""
    return [statistic.scale, float(not statistic.detach)]


DIVERGENCE = Epilogue(
    fold_divergence,
    merge_divergence,
    slope_divergence,
    empty=(float("-inf"), 0.0, 0.0),
    num_values=6,
    values=divergence_values,
    hyper=divergence_hyper,
    same_scores=True,
)
