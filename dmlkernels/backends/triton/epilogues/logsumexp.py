"""Log-sum-exp of positive and of negative scores: one exponential a score, to base 2."""

from __future__ import annotations

import math

import triton
import triton.language as tl

from dmlkernels.backends.triton.epilogues.base import Epilogue
from dmlkernels.backends.triton.epilogues.common import counted, finite, flat, take_positive
from dmlkernels.backends.triton.kernels.scalars import number
from dmlkernels.statistics import LogSumExp


@triton.jit
def add_exp2(highest, total, tile_highest):
    """A new highest logit, and the sum so far relative to it."""
    new = tl.maximum(highest, tile_highest)
    return new, total * tl.exp2(highest - finite(new))


@triton.jit
def lowest_score(scale):
    """What becomes a logit of -inf."""
    return tl.where(scale < 0.0, float("inf"), float("-inf"))


@triton.jit
def add_scores(highest, total, scores, factor, scale):
    """A tile's logits taken into a log-sum-exp; those of ``lowest_score`` add nothing."""
    factor *= scale
    extreme = tl.min(scores, 1) if scale < 0.0 else tl.max(scores, 1)
    extreme = tl.where(extreme == lowest_score(scale), float("-inf"), extreme * flat(factor))
    highest, total = add_exp2(highest, total, extreme)
    return highest, total + tl.sum(tl.exp2(scores * factor - finite(highest)[:, None]), 1)


@triton.jit
def mask_logsumexp(state, scores, factor, masks, values, weight, segments, hyper):
    """Takes the positives out of the tile."""
    scale = number(hyper, 0, scores.dtype)
    positive_scores = tl.where(masks[0], scores, lowest_score(scale))
    highest, total = add_scores(state[0], state[1], positive_scores, factor, scale)
    lowest = lowest_score(number(hyper, 1, scores.dtype))
    return (highest, total, state[2], state[3]), tl.where(masks[1], scores, lowest)


@triton.jit
def mask_one_logsumexp(state, scores, factor, masks, values, weight, segments, hyper):
    """One exponential a row, where ``mask_logsumexp`` takes one a score."""
    lowest = lowest_score(number(hyper, 1, scores.dtype))
    positive, negatives = take_positive(scores, factor, masks, lowest)
    logit = positive * number(hyper, 0, scores.dtype)
    highest, total = add_exp2(state[0], state[1], tl.where(masks[2], logit, float("-inf")))
    total += tl.where(masks[2], tl.exp2(logit - finite(highest)), 0.0)
    return (highest, total, state[2], state[3]), negatives


@triton.jit
def fold_logsumexp(state, scores, factor, masks, values, weight, segments, hyper):
    if len(masks) > 0:
        state, scores = mask_logsumexp(state, scores, factor, masks, values, weight, segments, hyper)
    highest, total = add_scores(state[2], state[3], scores, factor, number(hyper, 1, scores.dtype))
    return (state[0], state[1], highest, total), 0


@triton.jit
def finish_logsumexp(state, hyper):
    """Natural logarithms."""
    positive_highest, positive_sum, highest, total = state
    log_2 = number(hyper, 2, total.dtype)
    return (positive_highest + tl.log2(positive_sum)) * log_2, (highest + tl.log2(total)) * log_2


@triton.jit
def log_add_exp(a, b):
    shift = finite(tl.maximum(a, b))
    return tl.log(tl.exp(a - shift) + tl.exp(b - shift)) + shift


@triton.jit
def merge_logsumexp(a, b):
    return log_add_exp(a[0], b[0]), log_add_exp(a[1], b[1])


@triton.jit
def slope_logsumexp(scores, factor, masks, values, weight, segments, hyper):
    T: tl.constexpr = scores.dtype
    log_2, log2_e, scale = number(hyper, 2, T), number(hyper, 3, T), number(hyper, 1, T)
    lse, gradient = values[0] * log2_e, values[1] * (scale * log_2)
    if len(masks) == 0:
        return tl.exp2(scores * (factor * scale) - lse) * gradient
    else:
        positives, _ = masks
        positive_scale = number(hyper, 0, T)
        shift = tl.where(positives, values[2] * log2_e, lse)
        weights = tl.exp2(scores * factor * tl.where(positives, positive_scale, scale) - shift)
        slope = weights * tl.where(positives, values[3] * (positive_scale * log_2), gradient)
        return tl.where(counted(masks), slope, 0.0)


@triton.jit
def logsumexp_values(statistics, gradient, hyper):
    """Of negatives, then of positives: log-sum-exp, and its gradient."""
    return finite(statistics[1]), gradient[1], finite(statistics[0]), gradient[0]


@triton.jit
def logsumexp_bound(values, hyper):
    """No weight is above 1."""
    T: tl.constexpr = values[0].dtype
    positive, negative = values[3] * number(hyper, 0, T), values[1] * number(hyper, 1, T)
    return tl.maximum(tl.abs(positive), tl.abs(negative)) * number(hyper, 2, T)


def logsumexp_hyper(statistic: LogSumExp) -> list[float]:
    """Scales of logits to base 2, of positives and of negatives, and the factors to natural logarithms and back."""
    scales = statistic.positive_scale, statistic.negative_scale
    return [*(scale / math.log(2) for scale in scales), math.log(2), 1 / math.log(2)]


LOGSUMEXP = Epilogue(
    fold_logsumexp,
    merge_logsumexp,
    slope_logsumexp,
    mask=mask_logsumexp,
    mask_one=mask_one_logsumexp,
    empty=(float("-inf"), 0.0) * 2,
    neutral=(float("-inf"),) * 2,
    finish=finish_logsumexp,
    num_values=4,
    num_plain=2,
    values=logsumexp_values,
    bound=logsumexp_bound,
    hyper=logsumexp_hyper,
)
