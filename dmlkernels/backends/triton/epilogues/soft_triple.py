"""Log-sum-exp over classes of several centres each. A tile holds whole groups of centres, padded to a power of two."""

from __future__ import annotations

from dataclasses import replace

import triton
import triton.language as tl

from dmlkernels.backends.triton.epilogues.common import cosines, counted, finite
from dmlkernels.backends.triton.epilogues.logsumexp import (
    LOGSUMEXP,
    fold_logsumexp,
    logsumexp_bound,
    logsumexp_hyper,
    slope_logsumexp,
)
from dmlkernels.backends.triton.kernels.blocks import padded_group
from dmlkernels.backends.triton.kernels.functions import exp_to_zero
from dmlkernels.backends.triton.kernels.scalars import number
from dmlkernels.statistics import SoftTriple


@triton.jit
def grouped(tile, GROUP: tl.constexpr):
    """The tile with its columns as classes of centres: the centres are along 2."""
    PADDED: tl.constexpr = padded_group(GROUP)
    return tl.reshape(tile, [tile.shape[0], tile.shape[1] // PADDED, PADDED])


@triton.jit
def any_centre(mask, GROUP: tl.constexpr):
    return tl.max(grouped(mask.to(tl.int32), GROUP), 2) > 0


@triton.jit
def relax(scores, masks, gamma, GROUP: tl.constexpr):
    """One similarity per class, and each centre's share in it; centres that do not count have none."""
    centres = grouped(scores, GROUP)
    logits = centres / gamma
    if len(masks) > 0:
        logits = tl.where(grouped(counted(masks).to(tl.int32), GROUP) > 0, logits, float("-inf"))
    weights = exp_to_zero(logits - tl.expand_dims(finite(tl.max(logits, 2)), 2))
    total = tl.sum(weights, 2)
    shares = weights / tl.expand_dims(tl.where(total == 0.0, 1.0, total), 2)
    return tl.sum(shares * centres, 2), shares


@triton.jit
def of_classes(masks, GROUP: tl.constexpr):
    """Masks of classes from those of centres."""
    if len(masks) == 0:
        return ()
    else:
        return any_centre(masks[0], GROUP), any_centre(masks[1], GROUP)


@triton.jit
def fold_soft_triple(state, scores, factor, masks, values, weight, segments, hyper):
    GROUP: tl.constexpr = segments[2]
    similarity, _ = relax(cosines(scores, factor), masks, number(hyper, 4, scores.dtype), GROUP)
    classes = of_classes(masks, GROUP)
    one = tl.full([similarity.shape[0], 1], 1.0, similarity.dtype)
    return fold_logsumexp(state, similarity, one, classes, values, weight, segments, hyper)


@triton.jit
def slope_soft_triple(scores, factor, masks, values, weight, segments, hyper):
    GROUP: tl.constexpr = segments[2]
    cosine = cosines(scores, factor)
    gamma = number(hyper, 4, scores.dtype)
    similarity, shares = relax(cosine, masks, gamma, GROUP)
    one = tl.full([1, 1], 1.0, similarity.dtype)
    classes = of_classes(masks, GROUP)
    of_class = slope_logsumexp(similarity, one, classes, values, weight, segments, hyper)
    spread = (grouped(cosine, GROUP) - tl.expand_dims(similarity, 2)) / gamma + 1.0
    return tl.reshape(spread * shares * tl.expand_dims(of_class, 2), scores.shape)


@triton.jit
def soft_triple_bound(values, hyper):
    """A centre is at most 2 from the similarity of its class."""
    return logsumexp_bound(values, hyper) * (1.0 + 2.0 / number(hyper, 4, values[0].dtype))


def soft_triple_hyper(statistic: SoftTriple) -> list[float]:
    """Those of the log-sum-exp over classes, and gamma."""
    return [*logsumexp_hyper(statistic.over_classes), statistic.gamma]


SOFT_TRIPLE = replace(
    LOGSUMEXP,
    fold=fold_soft_triple,
    slope=slope_soft_triple,
    mask=None,
    mask_one=None,
    bound=soft_triple_bound,
    hyper=soft_triple_hyper,
    live_tiles=2,
)
