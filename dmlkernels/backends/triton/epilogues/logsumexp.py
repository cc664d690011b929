"""Log-sum-exp of positive and of negative scores."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from dmlkernels.backends.triton.epilogues.base import Epilogue
from dmlkernels.backends.triton.kernels.scalars import number
from dmlkernels.statistics import LogSumExp
from dmlkernels.statistics.base import finite_shift


@triton.jit
def finite(maximum):
    """A maximum made safe to subtract: an empty set's -inf would give inf - inf."""
    return tl.where(maximum == float("-inf"), 0.0, maximum)


@triton.jit
def log_sum_exp(logits):
    """Of each row; masked entries are -inf."""
    shift = finite(tl.max(logits, 1))
    return tl.log(tl.sum(tl.exp(logits - shift[:, None]), 1)) + shift


@triton.jit
def log_add_exp(a, b):
    shift = finite(tl.maximum(a, b))
    return tl.log(tl.exp(a - shift) + tl.exp(b - shift)) + shift


@triton.jit
def fold_logsumexp(scores, own, other, weight, cell, hyper):
    lowest = float("-inf")
    genuine = tl.where(own, scores * number(hyper, 0, scores.dtype), lowest)
    others = tl.where(other, scores * number(hyper, 1, scores.dtype), lowest)
    return log_sum_exp(genuine), log_sum_exp(others)


@triton.jit
def merge_logsumexp(a, b):
    return log_add_exp(a[0], b[0]), log_add_exp(a[1], b[1])


@triton.jit
def slope_logsumexp(scores, own, other, values, weight, cell, hyper, AXIS: tl.constexpr):
    positive_lse, positive_gradient, negative_lse, negative_gradient = values
    scale = tl.where(own, number(hyper, 0, scores.dtype), number(hyper, 1, scores.dtype))
    weights = tl.exp(scores * scale - tl.where(own, positive_lse, negative_lse))
    return tl.where(own | other, weights * scale * tl.where(own, positive_gradient, negative_gradient), 0.0)


def logsumexp_values(statistic: LogSumExp, statistics: Tensor, gradient: Tensor) -> list[Tensor]:
    own, other = finite_shift(statistics).unbind(1)
    return [own, gradient[:, 0], other, gradient[:, 1]]


LOGSUMEXP = Epilogue(
    fold_logsumexp,
    merge_logsumexp,
    slope_logsumexp,
    empty=(float("-inf"), float("-inf")),
    num_values=4,
    values=logsumexp_values,
    hyper=LogSumExp.parameters,
)
