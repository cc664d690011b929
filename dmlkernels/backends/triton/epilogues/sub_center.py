"""Log-sum-exp over classes of several centres each, of which the nearest counts."""

from __future__ import annotations

from dataclasses import replace

import triton
import triton.language as tl

from dmlkernels.backends.triton.epilogues.common import cosines, counted, finite
from dmlkernels.backends.triton.epilogues.logsumexp import LOGSUMEXP, fold_logsumexp, logsumexp_hyper, slope_logsumexp
from dmlkernels.backends.triton.epilogues.soft_triple import grouped, of_classes
from dmlkernels.statistics import SubCenter


@triton.jit
def candidates(cosine, masks, GROUP: tl.constexpr):
    """The centres of each class; -inf for those that do not count."""
    centres = grouped(cosine, GROUP)
    if len(masks) > 0:
        centres = tl.where(grouped(counted(masks).to(tl.int32), GROUP) > 0, centres, float("-inf"))
    return centres


@triton.jit
def nearest(centres):
    """The best of each class; NaN if one is, which a maximum alone would lose."""
    return tl.max(centres, 2) + tl.sum(tl.where(centres == float("-inf"), 0.0, centres) * 0.0, 2)


@triton.jit
def to_nearest(of_class, centres):
    """The slope of each class at its nearest centre, the first of equals; zero at the others."""
    first = tl.expand_dims(tl.argmax(centres, 2), 2)
    place = tl.arange(0, centres.shape[2])[None, None, :]
    return tl.where(place == first, tl.expand_dims(of_class, 2), 0.0)


@triton.jit
def fold_sub_center(state, scores, factor, masks, values, weight, segments, hyper):
    GROUP: tl.constexpr = segments[2]
    best = nearest(candidates(cosines(scores, factor), masks, GROUP))
    one = tl.full([best.shape[0], 1], 1.0, best.dtype)
    return fold_logsumexp(state, best, one, of_classes(masks, GROUP), values, weight, segments, hyper)


@triton.jit
def slope_sub_center(scores, factor, masks, values, weight, segments, hyper):
    GROUP: tl.constexpr = segments[2]
    centres = candidates(cosines(scores, factor), masks, GROUP)
    best = nearest(centres)
    one = tl.full([1, 1], 1.0, best.dtype)
    of_class = slope_logsumexp(finite(best), one, of_classes(masks, GROUP), values, weight, segments, hyper)
    return tl.reshape(to_nearest(of_class, centres), scores.shape)


def sub_center_hyper(statistic: SubCenter) -> list[float]:
    """Those of the log-sum-exp over classes."""
    return logsumexp_hyper(statistic.over_classes)


SUB_CENTER = replace(
    LOGSUMEXP,
    fold=fold_sub_center,
    slope=slope_sub_center,
    mask=None,
    mask_one=None,
    bound=None,  # scores of halves would not be the same
    hyper=sub_center_hyper,
    same_scores=True,  # the same centre must be the nearest
    live_tiles=2,
)
