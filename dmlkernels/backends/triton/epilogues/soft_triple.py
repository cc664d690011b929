"""Log-sum-exp over classes of several centres each. A tile holds whole groups of centres, padded to a power of two."""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton.epilogues.base import Epilogue
from dmlkernels.backends.triton.epilogues.logsumexp import (
    finite,
    fold_logsumexp,
    logsumexp_values,
    merge_logsumexp,
    slope_logsumexp,
)
from dmlkernels.backends.triton.kernels.blocks import padded_group
from dmlkernels.backends.triton.kernels.scalars import number
from dmlkernels.statistics import SoftTriple


@triton.jit
def grouped(tile, GROUP: tl.constexpr, AXIS: tl.constexpr):
    """The tile with its columns, along AXIS, as classes of centres: the centres are along AXIS + 1."""
    PADDED: tl.constexpr = padded_group(GROUP)
    if AXIS == 1:
        return tl.reshape(tile, [tile.shape[0], tile.shape[1] // PADDED, PADDED])
    else:
        return tl.reshape(tile, [tile.shape[0] // PADDED, PADDED, tile.shape[1]])


@triton.jit
def any_centre(mask, GROUP: tl.constexpr, AXIS: tl.constexpr):
    return tl.max(grouped(mask.to(tl.int32), GROUP, AXIS), AXIS + 1) > 0


@triton.jit
def relax(scores, counted, gamma, GROUP: tl.constexpr, AXIS: tl.constexpr):
    """One similarity per class, and each centre's share in it; centres that do not count have none."""
    centres = grouped(scores, GROUP, AXIS)
    counted = grouped(counted.to(tl.int32), GROUP, AXIS) > 0
    logits = tl.where(counted, centres / gamma, float("-inf"))
    weights = tl.exp(logits - tl.expand_dims(finite(tl.max(logits, AXIS + 1)), AXIS + 1))
    total = tl.sum(weights, AXIS + 1)
    shares = weights / tl.expand_dims(tl.where(total == 0.0, 1.0, total), AXIS + 1)
    return tl.sum(shares * centres, AXIS + 1), shares


@triton.jit
def fold_soft_triple(scores, own, other, weight, cell, hyper):
    GROUP: tl.constexpr = cell[2]
    similarity, _ = relax(scores, own | other, number(hyper, 2, scores.dtype), GROUP, 1)
    return fold_logsumexp(similarity, any_centre(own, GROUP, 1), any_centre(other, GROUP, 1), weight, cell, hyper)


@triton.jit
def slope_soft_triple(scores, own, other, values, weight, cell, hyper, AXIS: tl.constexpr):
    GROUP: tl.constexpr = cell[2]
    gamma = number(hyper, 2, scores.dtype)
    similarity, shares = relax(scores, own | other, gamma, GROUP, AXIS)
    positive_class, negative_class = any_centre(own, GROUP, AXIS), any_centre(other, GROUP, AXIS)
    of_class = slope_logsumexp(similarity, positive_class, negative_class, values, weight, cell, hyper, AXIS)
    spread = (grouped(scores, GROUP, AXIS) - tl.expand_dims(similarity, AXIS + 1)) / gamma + 1.0
    return tl.reshape(spread * shares * tl.expand_dims(of_class, AXIS + 1), scores.shape)


def soft_triple_hyper(statistic: SoftTriple) -> list[float]:
    """The scale of own and of other classes, and gamma."""
    return [statistic.scale, statistic.scale, statistic.gamma]


SOFT_TRIPLE = Epilogue(
    fold_soft_triple,
    merge_logsumexp,
    slope_soft_triple,
    empty=(float("-inf"), float("-inf")),
    num_values=4,
    values=logsumexp_values,
    hyper=soft_triple_hyper,
    live_tiles=2,
)
