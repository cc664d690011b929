"""Log-sum-exp with a scale for each row over classes of several centres each, of which the nearest counts."""

from __future__ import annotations

from dataclasses import replace

import triton
import triton.language as tl

from dmlkernels.backends.triton.epilogues.common import cosines, finite
from dmlkernels.backends.triton.epilogues.row_logsumexp import ROW_LOGSUMEXP, fold_row_logsumexp, slope_row_logsumexp
from dmlkernels.backends.triton.epilogues.soft_triple import of_classes
from dmlkernels.backends.triton.epilogues.sub_center import candidates, nearest, to_nearest


@triton.jit
def fold_row_sub_center(state, scores, factor, masks, values, weight, segments, hyper):
    GROUP: tl.constexpr = segments[2]
    best = finite(nearest(candidates(cosines(scores, factor), masks, GROUP)))
    one = tl.full([best.shape[0], 1], 1.0, best.dtype)
    return fold_row_logsumexp(state, best, one, of_classes(masks, GROUP), values, weight, segments, hyper)


@triton.jit
def slope_row_sub_center(scores, factor, masks, values, weight, segments, hyper):
    GROUP: tl.constexpr = segments[2]
    centres = candidates(cosines(scores, factor), masks, GROUP)
    best = finite(nearest(centres))
    one = tl.full([1, 1], 1.0, best.dtype)
    of_class = slope_row_logsumexp(best, one, of_classes(masks, GROUP), values, weight, segments, hyper)
    return tl.reshape(to_nearest(of_class, centres), scores.shape)


ROW_SUB_CENTER = replace(
    ROW_LOGSUMEXP,
    fold=fold_row_sub_center,
    slope=slope_row_sub_center,
    same_scores=True,  # the same centre must be the nearest
    live_tiles=4,
)
