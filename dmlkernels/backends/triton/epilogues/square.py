"""Weighted sum of squared scores."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from dmlkernels.backends.triton.epilogues.base import Epilogue
from dmlkernels.statistics import Square


@triton.jit
def fold_square(scores, own, other, weight, cell, hyper):
    return (tl.sum(tl.where(own | other, scores * scores * weight[0], 0.0), 1),)


@triton.jit
def merge_sum(a, b):
    return (a[0] + b[0],)


@triton.jit
def slope_square(scores, own, other, values, weight, cell, hyper, AXIS: tl.constexpr):
    return tl.where(own | other, scores * weight[0] * values[0], 0.0)


def square_values(statistic: Square, statistics: Tensor, gradient: Tensor) -> list[Tensor]:
    return [2 * gradient[:, 0]]


SQUARE = Epilogue(fold_square, merge_sum, slope_square, empty=(0.0,), num_values=1, values=square_values, weighted=True)
