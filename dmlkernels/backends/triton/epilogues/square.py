"""Weighted sum of squared scores."""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton.epilogues.base import Epilogue
from dmlkernels.backends.triton.epilogues.common import counted, flat, merge_sum


@triton.jit
def fold_square(state, scores, factor, masks, values, weight, segments, hyper):
    squares = scores * scores * weight[0]
    if len(masks) > 0:
        squares = tl.where(counted(masks), squares, 0.0)
    return (state[0] + tl.sum(squares, 1) * flat(factor * factor),), 0


@triton.jit
def slope_square(scores, factor, masks, values, weight, segments, hyper):
    slope = scores * (factor * values[0]) * weight[0]
    return slope if len(masks) == 0 else tl.where(counted(masks), slope, 0.0)


@triton.jit
def square_values(statistics, gradient, hyper):
    return (2.0 * gradient[0],)


SQUARE = Epilogue(fold_square, merge_sum, slope_square, empty=(0.0,), num_values=1, values=square_values, weighted=True)
