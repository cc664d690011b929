"""Softmax normalisers and mean logit differences of two views, which lie one after the other among the rows."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from dmlkernels.backends.triton.epilogues.base import Epilogue
from dmlkernels.backends.triton.epilogues.logsumexp import finite, log_add_exp
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
def fold_divergence(scores, own, other, weight, cell, hyper):
    logits = scores * number(hyper, 0, scores.dtype)
    difference = over_views(view_sign(logits, 0) * logits, 0)
    logits = tl.where(other, logits, float("-inf"))
    shift = finite(tl.max(logits, 1))
    weights = tl.exp(logits - shift[:, None])
    total = tl.sum(weights, 1)
    mean = tl.sum(tl.where(other, weights * difference, 0.0), 1) / tl.where(total == 0.0, 1.0, total)
    return tl.log(total) + shift, mean


@triton.jit
def merge_divergence(a, b):
    log_z = log_add_exp(a[0], b[0])
    shift = finite(log_z)
    return log_z, tl.exp(a[0] - shift) * a[1] + tl.exp(b[0] - shift) * b[1]


@triton.jit
def slope_divergence(scores, own, other, values, weight, cell, hyper, AXIS: tl.constexpr):
    log_z, gradient, mean = values
    logits = scores * number(hyper, 0, scores.dtype)
    sign = view_sign(logits, 1 - AXIS)
    weighted = tl.where(other, tl.exp(logits - log_z) * gradient, 0.0)  # p of this view
    slope = sign * over_views(weighted, 1 - AXIS)
    difference = over_views(sign * logits, 1 - AXIS)
    through_target = tl.where(other, weighted * (difference - mean), 0.0)
    return slope + through_target * number(hyper, 1, scores.dtype)


def divergence_values(
    statistic: Divergence,
    statistics: Tensor,  # (2 R, 2)
    gradient: Tensor,
) -> list[Tensor]:
    return [statistics[:, 0], gradient[:, 1] * statistic.scale, statistics[:, 1]]


def divergence_hyper(statistic: Divergence) -> list[float]:
    """The scale, and whether the targets are differentiated too."""
    return [statistic.scale, float(not statistic.detach)]


DIVERGENCE = Epilogue(
    fold_divergence,
    merge_divergence,
    slope_divergence,
    empty=(float("-inf"), 0.0),
    num_values=3,
    values=divergence_values,
    hyper=divergence_hyper,
)
