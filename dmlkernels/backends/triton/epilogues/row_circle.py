"""Circle loss with a scale and a margin for each row, and the means that are its derivatives by them."""

from __future__ import annotations

import math

import triton
import triton.language as tl

from dmlkernels.backends.triton.epilogues.base import Epilogue
from dmlkernels.backends.triton.epilogues.circle import pace, paced_logits, paced_rates
from dmlkernels.backends.triton.epilogues.common import cosines, counted, finite
from dmlkernels.backends.triton.epilogues.logsumexp import add_exp2, logsumexp_values
from dmlkernels.backends.triton.epilogues.row_logsumexp import merge_means
from dmlkernels.backends.triton.kernels.scalars import number
from dmlkernels.statistics import RowCircle


@triton.jit
def add_paced(highest, total, of_scale, of_margin, score, mask, scale, margin, hyper):
    """A tile taken into a log-sum-exp and into the sums of the logits' derivatives by their weights."""
    T: tl.constexpr = score.dtype
    weight = pace(score, margin)
    logits = paced_logits(score, scale * number(hyper, 1, T), margin)
    if mask is not None:
        logits = tl.where(mask, logits, float("-inf"))
    new, total = add_exp2(highest, total, tl.max(logits, 1))
    shares, before = tl.exp2(logits - finite(new)[:, None]), tl.exp2(highest - finite(new))
    margin_rate = tl.where(number(hyper, 2, T) != 0.0, weight, tl.where(weight == 0.0, 0.0, 2.0 * margin))
    return (
        new,
        total + tl.sum(shares, 1),
        of_scale * before + tl.sum(shares * (weight * (score - margin)), 1),
        of_margin * before + tl.sum(shares * (-scale * margin_rate), 1),
    )


@triton.jit
def fold_row_circle(state, scores, factor, masks, values, weight, segments, hyper):
    cosine, scale, margin = cosines(scores, factor), values[0], values[1]
    if len(masks) == 0:
        positives = state[0], state[1], state[2], state[3]
        negatives = add_paced(state[4], state[5], state[6], state[7], cosine, None, scale, margin, hyper)
    else:
        positives = add_paced(state[0], state[1], state[2], state[3], 1.0 - cosine, masks[0], scale, margin, hyper)
        negatives = add_paced(state[4], state[5], state[6], state[7], cosine, masks[1], scale, margin, hyper)
    return positives + negatives, 0


@triton.jit
def finish_row_circle(state, hyper):
    """Natural logarithms, and means."""
    positive_highest, positive_sum, positive_of_scale, positive_of_margin, highest, total, of_scale, of_margin = state
    log_2 = number(hyper, 0, total.dtype)
    positive_divisor, divisor = tl.where(positive_sum == 0.0, 1.0, positive_sum), tl.where(total == 0.0, 1.0, total)
    return (
        (positive_highest + tl.log2(positive_sum)) * log_2,
        (highest + tl.log2(total)) * log_2,
        positive_of_scale / positive_divisor,
        of_scale / divisor,
        positive_of_margin / positive_divisor,
        of_margin / divisor,
    )


@triton.jit
def merge_row_circle(a, b):
    positive, positive_of_scale = merge_means(a[0], b[0], a[2], b[2])
    negative, of_scale = merge_means(a[1], b[1], a[3], b[3])
    _, positive_of_margin = merge_means(a[0], b[0], a[4], b[4])
    _, of_margin = merge_means(a[1], b[1], a[5], b[5])
    return positive, negative, positive_of_scale, of_scale, positive_of_margin, of_margin


@triton.jit
def slope_row_circle(scores, factor, masks, values, weight, segments, hyper):
    T: tl.constexpr = scores.dtype
    log2_e, detach = number(hyper, 1, T), number(hyper, 2, T)
    score, scale, margin, lse, gradient = cosines(scores, factor), values[0], values[1], values[2], values[3]
    if len(masks) > 0:
        score = tl.where(masks[0], 1.0 - score, score)
        lse, gradient = tl.where(masks[0], values[4], lse), tl.where(masks[0], -values[5], gradient)
    slope = tl.exp2((paced_logits(score, scale, margin) - lse) * log2_e)
    slope = slope * paced_rates(score, margin, detach) * (gradient * scale)
    if len(masks) > 0:
        slope = tl.where(counted(masks), slope, 0.0)
    return slope


def row_circle_hyper(statistic: RowCircle) -> list[float]:
    """The factors to natural logarithms and back, and whether weights are held fixed."""
    return [math.log(2), 1 / math.log(2), float(statistic.detach)]


ROW_CIRCLE = Epilogue(
    fold_row_circle,
    merge_row_circle,
    slope_row_circle,
    empty=(float("-inf"), 0.0, 0.0, 0.0) * 2,
    neutral=(float("-inf"), float("-inf"), 0.0, 0.0, 0.0, 0.0),
    finish=finish_row_circle,
    num_values=4,
    num_plain=2,
    values=logsumexp_values,
    hyper=row_circle_hyper,
    live_tiles=4,
)
