"""Log-sum-exps with a scale for each row, harder hard negatives, and the means that are their derivatives."""

from __future__ import annotations

import math

import triton
import triton.language as tl

from dmlkernels.backends.triton.epilogues.base import Epilogue
from dmlkernels.backends.triton.epilogues.common import cosines, counted, finite
from dmlkernels.backends.triton.epilogues.logsumexp import add_exp2, log_add_exp, logsumexp_values
from dmlkernels.backends.triton.kernels.scalars import number
from dmlkernels.statistics import RowLogSumExp


@triton.jit
def harder(cosine, threshold, hardness):
    """What negatives count as."""
    return tl.where(cosine > threshold, cosine * (hardness + cosine), cosine)


@triton.jit
def add_weighted(highest, total, weighted, scores, logits):
    """A tile taken into a log-sum-exp and into the sum of its scores by their weights."""
    new, total = add_exp2(highest, total, tl.max(logits, 1))
    weights = tl.exp2(logits - finite(new)[:, None])
    weighted *= tl.exp2(highest - finite(new))
    return new, total + tl.sum(weights, 1), weighted + tl.sum(weights * scores, 1)


@triton.jit
def fold_row_logsumexp(state, scores, factor, masks, values, weight, segments, hyper):
    cosine = cosines(scores, factor)
    scale = values[0] * number(hyper, 1, scores.dtype)
    negative = harder(cosine, values[1], values[2])
    logits = negative * scale
    positives = state[0], state[1], state[2]
    if len(masks) > 0:
        positive = tl.where(masks[0], cosine * scale, float("-inf"))
        positives = add_weighted(state[0], state[1], state[2], cosine, positive)
        logits = tl.where(masks[1], logits, float("-inf"))
    negatives = add_weighted(state[3], state[4], state[5], negative, logits)
    return positives + negatives, 0


@triton.jit
def finish_row_logsumexp(state, hyper):
    """Natural logarithms, and means."""
    positive_highest, positive_sum, positive_weighted, highest, total, weighted = state
    log_2 = number(hyper, 0, total.dtype)
    return (
        (positive_highest + tl.log2(positive_sum)) * log_2,
        (highest + tl.log2(total)) * log_2,
        positive_weighted / tl.where(positive_sum == 0.0, 1.0, positive_sum),
        weighted / tl.where(total == 0.0, 1.0, total),
    )


@triton.jit
def merge_means(a, b, a_mean, b_mean):
    total = log_add_exp(a, b)
    return total, a_mean * tl.exp(a - finite(total)) + b_mean * tl.exp(b - finite(total))


@triton.jit
def merge_row_logsumexp(a, b):
    positive, positive_mean = merge_means(a[0], b[0], a[2], b[2])
    negative, negative_mean = merge_means(a[1], b[1], a[3], b[3])
    return positive, negative, positive_mean, negative_mean


@triton.jit
def slope_row_logsumexp(scores, factor, masks, values, weight, segments, hyper):
    cosine = cosines(scores, factor)
    scale, threshold, hardness = values[0], values[1], values[2]
    log2_e = number(hyper, 1, scores.dtype)
    counts_as = harder(cosine, threshold, hardness)
    rate = tl.where(cosine > threshold, hardness + 2.0 * cosine, 1.0)
    lse, gradient = values[3], values[4]
    if len(masks) == 0:
        return tl.exp2((counts_as * scale - lse) * log2_e) * rate * (gradient * scale)
    else:
        counts_as = tl.where(masks[0], cosine, counts_as)
        lse, gradient = tl.where(masks[0], values[5], lse), tl.where(masks[0], values[6], gradient)
        slope = tl.exp2((counts_as * scale - lse) * log2_e) * tl.where(masks[0], 1.0, rate) * (gradient * scale)
        return tl.where(counted(masks), slope, 0.0)


def row_logsumexp_hyper(statistic: RowLogSumExp) -> list[float]:
    """The factors to natural logarithms and back."""
    return [math.log(2), 1 / math.log(2)]


ROW_LOGSUMEXP = Epilogue(
    fold_row_logsumexp,
    merge_row_logsumexp,
    slope_row_logsumexp,
    empty=(float("-inf"), 0.0, 0.0) * 2,
    neutral=(float("-inf"), float("-inf"), 0.0, 0.0),
    finish=finish_row_logsumexp,
    num_values=4,
    num_plain=2,
    values=logsumexp_values,
    hyper=row_logsumexp_hyper,
    same_scores=True,  # those near the threshold must fall on the same side
    live_tiles=2,
)
