"""Circle loss: log-sum-exps of self-paced logits."""

from __future__ import annotations

import math
from dataclasses import replace

import triton
import triton.language as tl

from dmlkernels.backends.triton.epilogues.common import cosines, counted, finite
from dmlkernels.backends.triton.epilogues.logsumexp import LOGSUMEXP, add_exp2
from dmlkernels.backends.triton.kernels.scalars import number
from dmlkernels.statistics import Circle


@triton.jit
def pace(score, margin):
    """max(score + margin, 0); NaN stays NaN."""
    weight = score + margin
    return tl.where(weight < 0.0, 0.0, weight)


@triton.jit
def paced_logits(score, scale, margin):
    """A positive score s has the logit that a negative one of 1 - s has."""
    return pace(score, margin) * (score - margin) * scale


@triton.jit
def paced_rates(score, margin, detach):
    """Derivatives of the logits by the scores over the scale, or the weights alone if these are held fixed."""
    weight = pace(score, margin)
    return tl.where(detach != 0.0, weight, tl.where(weight == 0.0, 0.0, 2.0 * score))


@triton.jit
def circle_logits(score, hyper):
    """To base 2."""
    return paced_logits(score, number(hyper, 0, score.dtype), number(hyper, 1, score.dtype))


@triton.jit
def circle_rates(score, hyper):
    """Derivatives of the logits to base e."""
    T: tl.constexpr = score.dtype
    return paced_rates(score, number(hyper, 1, T), number(hyper, 4, T)) * (number(hyper, 0, T) * number(hyper, 2, T))


@triton.jit
def add_logits(highest, total, logits):
    new, total = add_exp2(highest, total, tl.max(logits, 1))
    return new, total + tl.sum(tl.exp2(logits - finite(new)[:, None]), 1)


@triton.jit
def fold_circle(state, scores, factor, masks, values, weight, segments, hyper):
    cosine = cosines(scores, factor)
    logits = circle_logits(cosine, hyper)
    positives = state[0], state[1]
    if len(masks) > 0:
        positive = tl.where(masks[0], circle_logits(1.0 - cosine, hyper), float("-inf"))
        positives = add_logits(state[0], state[1], positive)
        logits = tl.where(masks[1], logits, float("-inf"))
    return positives + add_logits(state[2], state[3], logits), 0


@triton.jit
def slope_circle(scores, factor, masks, values, weight, segments, hyper):
    log2_e = number(hyper, 3, scores.dtype)
    score, lse, gradient = cosines(scores, factor), values[0], values[1]
    if len(masks) == 0:
        return tl.exp2(circle_logits(score, hyper) - lse * log2_e) * circle_rates(score, hyper) * gradient
    else:
        score = tl.where(masks[0], 1.0 - score, score)
        lse, gradient = tl.where(masks[0], values[2], lse), tl.where(masks[0], -values[3], gradient)
        slope = tl.exp2(circle_logits(score, hyper) - lse * log2_e) * circle_rates(score, hyper) * gradient
        return tl.where(counted(masks), slope, 0.0)


@triton.jit
def circle_bound(values, hyper):
    """Weights of a softmax are at most 1, and scores at most 2, those of positives being 1 less the cosine."""
    T: tl.constexpr = values[0].dtype
    rate = (4.0 + tl.abs(number(hyper, 1, T))) * tl.abs(number(hyper, 0, T)) * number(hyper, 2, T)
    return tl.maximum(tl.abs(values[1]), tl.abs(values[3])) * rate


def circle_hyper(statistic: Circle) -> list[float]:
    """Scale of logits to base 2, margin, the factors to natural logarithms and back, whether weights are held fixed."""
    return [
        statistic.scale / math.log(2), statistic.margin, math.log(2), 1 / math.log(2), float(statistic.detach),
    ]  # fmt: skip


CIRCLE = replace(
    LOGSUMEXP,
    fold=fold_circle,
    slope=slope_circle,
    mask=None,
    mask_one=None,
    bound=circle_bound,
    hyper=circle_hyper,
    live_tiles=2,
)
