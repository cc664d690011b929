"""Softmax sums and mean logit differences of two views.

Of each eight rows, the first view's come before the second's: see ``locate``.
"""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton.epilogues.base import Epilogue
from dmlkernels.backends.triton.epilogues.common import cosines, finite
from dmlkernels.backends.triton.kernels.functions import exp_to_zero, log1p
from dmlkernels.backends.triton.kernels.scalars import number
from dmlkernels.statistics import Divergence


@triton.jit
def over_views(values):
    """Sum over the views of each row, given back to both."""
    pairs = tl.reshape(values, [values.shape[0] // 16, 2, 8, values.shape[1]])
    total = tl.broadcast_to(tl.expand_dims(tl.sum(pairs, 1), 1), pairs.shape)
    return tl.reshape(total, values.shape)


@triton.jit
def view_sign(values):
    """+1 for the first view and -1 for the second, along the rows."""
    sign = (1 - 2 * (tl.arange(0, values.shape[0]) // 8 % 2)).to(values.dtype)
    return tl.expand_dims(sign, 1)


@triton.jit
def over_pairs(values):
    """The same for one number a row."""
    return tl.reshape(over_views(tl.expand_dims(values, 1)), values.shape)


@triton.jit
def signed(values):
    return values * tl.reshape(view_sign(tl.expand_dims(values, 1)), values.shape)


@triton.jit
def means_or_divergence(last):
    """Takes (mean, mean') of two rows to (mean, divergence) and back."""
    first = signed(tl.full(last.shape, 1.0, last.dtype)) > 0
    return tl.where(first, last, over_pairs(tl.where(first, last, 0.0)) - last)


@triton.jit
def logits_of(scores, factor, hyper):
    """Rounded by itself, since the highest less itself must be 0: a compiler that sees the product beside the
    subtraction fuses them. NaN stays NaN."""
    logits = cosines(scores, factor * number(hyper, 0, scores.dtype))
    return tl.maximum(logits, -3e38, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def fold_divergence(state, scores, factor, masks, values, weight, segments, hyper):
    """State: the highest logit, the sum of exp(l - highest) without a 1, and the sum that is weighted with the
    difference of the two views."""
    before, rest, weighted = state
    logits = logits_of(scores, factor, hyper)
    if len(masks) > 0:
        logits = tl.where(masks[1], logits, float("-inf"))
    highest = tl.maximum(before, tl.max(logits, 1))
    lower = logits - finite(highest)[:, None]
    difference = over_views(view_sign(lower) * lower)
    if len(masks) > 0:
        difference = tl.where(masks[1], difference, 0.0)
    weights = exp_to_zero(lower)
    tied = tl.sum(tl.where(lower == 0.0, 1.0, 0.0), 1)
    others = tl.sum(tl.where(lower == 0.0, 0.0, weights), 1)

    # What was summed before, relative to the highest logit now.
    sunk = before - finite(highest)
    scale = tl.exp(sunk)
    moved = over_pairs(signed(finite(sunk)))
    weighted = scale * (weighted + (1.0 + rest) * moved) + tl.sum(weights * difference, 1)
    rest = tl.where(highest > before, scale * (1.0 + rest) + (tied - 1.0), rest + tied) + others
    return (highest, rest, weighted), 0


@triton.jit
def finish_divergence(state, hyper):
    highest, rest, weighted = state
    return highest, rest, means_or_divergence(weighted / (1.0 + rest))


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
def slope_divergence(scores, factor, masks, values, weight, segments, hyper):
    highest, inverse, half_ratio, mean, of_apart, of_total = values
    lower = logits_of(scores, factor, hyper) - highest
    sign = view_sign(lower)
    difference = over_views(sign * lower)
    p = exp_to_zero(lower) * inverse  # of this view
    if len(masks) > 0:
        p = tl.where(masks[1], p, 0.0)
    total = over_views(p)
    apart = first_less_second(p, total, sign, difference * 0.5 - half_ratio)
    slope = sign * (of_apart * apart + of_total * total)
    if number(hyper, 1, scores.dtype) != 0:  # targets are differentiated too
        slope += (of_total + sign * of_apart) * p * (difference - mean)
    return slope


@triton.jit
def first_less_second(p, total, sign, half):
    """First view's p less the second's, without their cancelling; ``half`` the logarithm of their ratio."""
    # total * tanh(half), by its Taylor series where so many terms suffice
    square = half * half
    series = -17.0 / 315
    if p.dtype == tl.float64:
        series += square * (62.0 / 2835 + square * (square * (21844.0 / 6081075) - 1382.0 / 155925))
    series = square * (square * (square * series + 2.0 / 15) - 1.0 / 3)
    return tl.where(square < 1.0 / 64, total * (half + half * series), sign * (2.0 * p - total))


@triton.jit
def divergence_values(statistics, gradient, hyper):
    """Of each view: its highest logit and 1 / sum exp(l - h). Of both: half the log of their ratio. Of each: its mean
    difference. Of both: what the difference of the views' p is multiplied by, and what their sum is."""
    first_highest, second_highest, first_rest, second_rest, mean, divergence = statistics
    scale = number(hyper, 0, mean.dtype)
    of_total = gradient[4] * scale * 0.5
    of_apart = gradient[5] * scale + of_total
    half_ratio = 0.5 * log1p((first_rest - second_rest) / (1.0 + second_rest))
    first = first_highest, 1.0 / (1.0 + first_rest), half_ratio, mean, of_apart, of_total
    second = second_highest, 1.0 / (1.0 + second_rest), half_ratio, mean - divergence, of_apart, of_total
    return first + second


def divergence_hyper(statistic: Divergence) -> list[float]:
    """The scale, and whether the targets are differentiated too."""
    return [statistic.scale, float(not statistic.detach)]


DIVERGENCE = Epilogue(
    fold_divergence,
    merge_divergence,
    slope_divergence,
    empty=(float("-inf"), 0.0, 0.0),
    finish=finish_divergence,
    num_values=6,
    values=divergence_values,
    hyper=divergence_hyper,
    same_scores=True,
)
