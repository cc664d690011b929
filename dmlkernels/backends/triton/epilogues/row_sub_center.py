"""Log-sum-exp with a scale for each row over classes of several centres each, of which the nearest counts."""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton.epilogues.base import Epilogue
from dmlkernels.backends.triton.epilogues.common import cosines
from dmlkernels.backends.triton.epilogues.row_logsumexp import (
    finish_row_logsumexp,
    fold_row_logsumexp,
    merge_row_logsumexp,
    row_logsumexp_hyper,
    row_logsumexp_values,
    slope_row_logsumexp,
)
from dmlkernels.backends.triton.epilogues.soft_triple import of_classes
from dmlkernels.backends.triton.epilogues.sub_center import candidates, nearest


@triton.jit
def fold_row_sub_center(state, scores, factor, masks, values, weight, segments, hyper):
    GROUP: tl.constexpr = segments[2]
    best = finite_scores(nearest(candidates(cosines(scores, factor), masks, GROUP)))
    one = tl.full([best.shape[0], 1], 1.0, best.dtype)
    return fold_row_logsumexp(state, best, one, of_classes(masks, GROUP), values, weight, segments, hyper)


@triton.jit
def finite_scores(best):
    """A class that does not count has no finite score."""
    return tl.where(best == float("-inf"), 0.0, best)


@triton.jit
def slope_row_sub_center(scores, factor, masks, values, weight, segments, hyper):
    GROUP: tl.constexpr = segments[2]
    centres = candidates(cosines(scores, factor), masks, GROUP)
    best = finite_scores(nearest(centres))
    one = tl.full([1, 1], 1.0, best.dtype)
    of_class = slope_row_logsumexp(best, one, of_classes(masks, GROUP), values, weight, segments, hyper)
    first = tl.expand_dims(tl.argmax(centres, 2), 2)
    place = tl.arange(0, centres.shape[2])[None, None, :]
    return tl.reshape(tl.where(place == first, tl.expand_dims(of_class, 2), 0.0), scores.shape)


ROW_SUB_CENTER = Epilogue(
    fold_row_sub_center,
    merge_row_logsumexp,
    slope_row_sub_center,
    empty=(float("-inf"), 0.0, 0.0) * 2,
    neutral=(float("-inf"), float("-inf"), 0.0, 0.0),
    finish=finish_row_logsumexp,
    num_values=4,
    num_plain=2,
    values=row_logsumexp_values,
    hyper=row_logsumexp_hyper,
    same_scores=True,  # the same centre must be the nearest
    live_tiles=4,
)
