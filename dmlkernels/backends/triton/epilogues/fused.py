"""Moments, field and squares from the same scores, each where its segments of rows and columns meet."""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton.epilogues.base import Epilogue
from dmlkernels.backends.triton.epilogues.common import any_pair
from dmlkernels.backends.triton.epilogues.field import field_hyper, fold_field, slope_field
from dmlkernels.backends.triton.epilogues.moments import (
    finish_moments,
    fold_moments,
    merge_moments,
    moments_values,
    slope_moments,
)
from dmlkernels.backends.triton.epilogues.square import fold_square, slope_square
from dmlkernels.statistics import Field, Fused


@triton.jit
def any_of(mask):
    """Whether a segment's flag is set: that of a plain tile, or any of a vector's."""
    if len(mask.shape) == 0:
        return mask
    else:
        return any_pair(mask) > 0


@triton.jit
def only(masks, part):
    """Masks of the pairs in this part of the tile."""
    if len(masks) == 0:
        return ()
    else:
        return masks[0] & part, masks[1] & part


@triton.jit
def fold_fused(state, scores, factor, masks, values, weight, segments, hyper):
    row, column, _ = segments
    moments = (state[0], state[1], state[2], state[3], state[4], state[5], state[6], state[7])
    energy, square = state[8], state[9]
    # Moments of a sample are in the gradient of a proxy too, whose own row has none.
    has_grad = (any_of(row == 1) & any_of(column == 0)).to(tl.int32)
    if any_of(row == 0) & any_of(column == 1):
        proxies = only(masks, (row == 0) & (column == 1))
        moments, _ = fold_moments(moments, scores, factor, proxies, values, weight, segments, hyper)
        has_grad = 1
    if any_of(column <= 1):
        points = only(masks, column <= 1)
        energies, field_has_grad = fold_field((energy,), scores, factor, points, values, weight, segments, hyper)
        energy = energies[0]
        has_grad = has_grad | field_has_grad
    if any_of(row == 0) & any_of(column == 2):
        atoms = only(masks, (row == 0) & (column == 2))
        squares, _ = fold_square((square,), scores, factor, atoms, values, weight, segments, hyper)
        square = squares[0]
        has_grad = 1
    return moments + (energy, square), has_grad  # noqa: RUF005


@triton.jit
def ready_fused(state, row_part):
    return (state[3] > 0.0) | (row_part != 0)


@triton.jit
def finish_fused(state, hyper):
    return finish_moments(state, hyper) + (state[8], state[9])  # noqa: RUF005


@triton.jit
def merge_fused(a, b):
    return merge_moments(a, b) + (a[6] + b[6], a[7] + b[7])  # noqa: RUF005


@triton.jit
def slope_fused(scores, factor, masks, values, weight, segments, hyper):
    row, column, _ = segments
    slope = tl.zeros_like(scores)
    if any_of(row == 0) & any_of(column == 1):
        proxies = only(masks, (row == 0) & (column == 1))
        moments = values_of_moments(values)
        slope += slope_moments(scores, factor, proxies, moments, weight, segments, hyper)
    if any_of(column <= 1):
        points = only(masks, column <= 1)
        slope += slope_field(scores, factor, points, (values[3],), weight, segments, hyper)
    if any_of(row == 0) & any_of(column == 2):
        atoms = only(masks, (row == 0) & (column == 2))
        slope += slope_square(scores, factor, atoms, (values[4],), weight, segments, hyper)
    return slope


@triton.jit
def values_of_moments(values):
    if len(values) == 5:
        return values[0], values[1], values[2]
    else:
        return values[0], values[1], values[2], values[5], values[6], values[7]


@triton.jit
def fused_values(statistics, gradient, hyper):
    """Those of the moments' negatives, of field and squares, and of the moments' positives."""
    moments = moments_values(statistics, gradient, hyper)
    of_energies = gradient[6], 2.0 * gradient[7]
    return (moments[0], moments[1], moments[2]) + of_energies + (moments[3], moments[4], moments[5])  # noqa: RUF005


def fused_hyper(statistic: Fused) -> list[float]:
    return field_hyper(Field(*statistic.parameters()))


FUSED = Epilogue(
    fold_fused,
    merge_fused,
    slope_fused,
    finish=finish_fused,
    empty=(0.0,) * 10,
    neutral=(0.0,) * 8,
    num_values=8,
    num_plain=5,
    values=fused_values,
    ready=ready_fused,
    hyper=fused_hyper,
    weighted=True,
    segmented=True,
    exact_scores=True,
    live_tiles=4,
)
