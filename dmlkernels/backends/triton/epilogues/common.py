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
def merge_sum(a, b):
    return (a[0] + b[0],)
