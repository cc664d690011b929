"""Small things that several epilogues say."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def cosines(scores, factor):
    return scores * factor


@triton.jit
def counted(masks):
    """Pairs that count, of masks."""
    return masks[0] | masks[1]


@triton.jit
def any_pair(mask):
    """Whether a tile of flags, or a vector, has one set."""
    return tl.max(mask.to(tl.int32))


@triton.jit
def finite(maximum):
    """A maximum made safe to subtract: an empty set's -inf would give inf - inf."""
    return tl.where(maximum == float("-inf"), 0.0, maximum)


@triton.jit
def flat(row):
    """A vector of rows' factors as (rows,)."""
    return tl.sum(row, 1)


@triton.jit
def take_positive(scores, factor, masks, lowest):
    """Cosine of each row's only positive, 0 where it is in another tile; and the scores, with ``lowest`` in place of
    what is no negative. Masks are those of ``masks_of_one``."""
    scores = tl.where(masks[1], scores, lowest)  # first: registers do not hold the scores with and without
    return tl.sum(tl.where(masks[0], scores, 0.0), 1) * flat(factor), tl.where(masks[0], lowest, scores)


@triton.jit
def merge_sum(a, b):
    return (a[0] + b[0],)
