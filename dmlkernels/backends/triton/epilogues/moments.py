"""Count, mean and squared deviation of positive and negative scores."""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton.epilogues.base import Epilogue
from dmlkernels.backends.triton.epilogues.common import cosines, flat, take_positive

LOWEST = tl.constexpr(float("-inf"))


@triton.jit
def summary(scores, mask):
    """Of the masked scores of each row, in two passes over registers: nothing cancels."""
    count = tl.sum(mask.to(scores.dtype), 1)
    mean = tl.sum(tl.where(mask, scores, 0.0), 1) / tl.maximum(count, 1.0)
    deviation = tl.where(mask, scores - mean[:, None], 0.0)
    return count, mean, tl.sum(deviation * deviation, 1)


@triton.jit
def add_all(count, mean, deviation, missing, beside, scores, factor):
    """A tile joined to a summary of at least one score; so many scores of each row are missing, and stand so far beside
    the mean in all.

    One pass, about the mean so far: it lies within a few deviations of the tile's, or the step between them is itself a
    part of the sum that rounds so little as to be exact beside it.
    """
    there = -missing + scores.shape[1]
    centered = tl.fma(scores, factor, -mean[:, None])
    step = (tl.sum(centered, 1) - beside) / tl.maximum(there, 1.0)
    within = tl.maximum(tl.sum(centered * centered, 1) - step * step * there, 0.0)
    fraction = there / tl.maximum(count + there, 1.0)
    return count + there, mean + step * fraction, deviation + within + step * step * (count * fraction)


@triton.jit
def lay_to_mean(state, scores, factor):
    """Negatives' part of the state, and the scores with those that are LOWEST moved to the mean."""
    there = tl.sum((scores != LOWEST).to(scores.dtype), 1)
    first = tl.sum(tl.where(scores != LOWEST, scores, 0.0), 1) / tl.maximum(there, 1.0) * flat(factor)
    mean = tl.where(state[3] > 0.0, state[4], first)
    # A row of no norm has cosines of 0.
    at_mean = tl.where(factor == 0.0, 0.0, mean[:, None] / factor)
    missing = -there + scores.shape[1]
    beside = missing * flat(tl.fma(at_mean, factor, -mean[:, None]))  # roundings, all alike
    return (state[3], mean, state[5], missing, beside), tl.where(scores != LOWEST, scores, at_mean)


@triton.jit
def mask_moments(state, scores, factor, masks, values, weight, segments, hyper):
    """Takes the positives out of the tile; a row's first negatives give the mean that the others are summed about.

    Masks are put into the scores at once, as -inf: kept for long they would take a register a score.
    """
    positives, scores = tl.where(masks[0], scores, LOWEST), tl.where(masks[1], scores, LOWEST)
    row = flat(factor)
    count, mean, deviation = summary(positives, positives != LOWEST)
    joined = chan(state[0], state[1], state[2], count, mean * row, deviation * row * row)
    negatives, scores = lay_to_mean(state, scores, factor)
    return joined + negatives, scores


@triton.jit
def mask_one_moments(state, scores, factor, masks, values, weight, segments, hyper):
    """A positive alone is its mean."""
    positive, scores = take_positive(scores, factor, masks, LOWEST)
    joined = chan(state[0], state[1], state[2], masks[2].to(scores.dtype), positive, tl.zeros_like(positive))
    negatives, scores = lay_to_mean(state, scores, factor)
    return joined + negatives, scores


@triton.jit
def fold_moments(state, scores, factor, masks, values, weight, segments, hyper):
    if len(masks) > 0:
        state, scores = mask_moments(state, scores, factor, masks, values, weight, segments, hyper)
    negatives = add_all(state[3], state[4], state[5], state[6], state[7], scores, factor)
    nothing = tl.zeros_like(state[6])
    return (state[0], state[1], state[2]) + negatives + (nothing, nothing), 0  # noqa: RUF005


@triton.jit
def finish_moments(state, hyper):
    return state[0], state[1], state[2], state[3], state[4], state[5]


@triton.jit
def ready_moments(state, row_part):
    return state[3] > 0.0


@triton.jit
def chan(count_a, mean_a, deviation_a, count_b, mean_b, deviation_b):
    count = count_a + count_b
    fraction = count_b / tl.maximum(count, 1.0)
    step = mean_b - mean_a
    return count, mean_a + step * fraction, deviation_a + deviation_b + step * step * (count_a * fraction)


@triton.jit
def merge_moments(a, b):
    return chan(a[0], a[1], a[2], b[0], b[1], b[2]) + chan(a[3], a[4], a[5], b[3], b[4], b[5])


@triton.jit
def slope_moments(scores, factor, masks, values, weight, segments, hyper):
    cosine = cosines(scores, factor)
    slope = values[0] + values[1] * (cosine - values[2])
    if len(masks) == 0:
        return slope
    else:
        positive = values[3] + values[4] * (cosine - values[5])
        return tl.where(masks[0], positive, tl.where(masks[1], slope, 0.0))


@triton.jit
def moments_values(statistics, gradient, hyper):
    """Of negatives, then of positives: slope at their mean, its rate, the mean."""
    negatives = gradient[4] / tl.maximum(statistics[3], 1.0), 2.0 * gradient[5], statistics[4]
    return negatives + (gradient[1] / tl.maximum(statistics[0], 1.0), 2.0 * gradient[2], statistics[1])  # noqa: RUF005


@triton.jit
def moments_bound(values, hyper):
    """A cosine is at most 2 from a mean."""
    negative = tl.abs(values[0]) + 2.0 * tl.abs(values[1])
    return tl.maximum(negative, tl.abs(values[3]) + 2.0 * tl.abs(values[4]))


MOMENTS = Epilogue(
    fold_moments,
    merge_moments,
    slope_moments,
    mask=mask_moments,
    mask_one=mask_one_moments,
    finish=finish_moments,
    empty=(0.0,) * 8,  # the last two: scores that the tile at hand lacks, and how far beside the mean they stand
    neutral=(0.0,) * 6,
    num_values=6,
    num_plain=3,
    values=moments_values,
    bound=moments_bound,
    ready=ready_moments,
    live_tiles=2,
)
