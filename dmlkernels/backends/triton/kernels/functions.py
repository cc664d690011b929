"""What kernels share: functions that Triton does not have, or not in every mode and to full precision, and loads."""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton.kernels.scalars import finish_stores

LOG2_E = tl.constexpr(1.4426950408889634)
ROWS_AT_ONCE = tl.constexpr(1024)  # of a formula
_TERMS = tl.constexpr(17)  # of a series in z^2 <= 1/9: to 1e-17


@triton.jit
def exp_to_zero(x):
    """exp(x), and 0 where that is no normal number, which takes two instructions of float32 instead of five."""
    return tl.exp2(x * LOG2_E)


@triton.jit
def log1p(x):
    """log(1 + x). Near 0 it is 2 artanh(x / (2 + x)) by its series, which keeps every digit of a small x."""
    small = (x > -0.5) & (x <= 1.0)
    z = tl.where(small, x, 0.0) / (2.0 + tl.where(small, x, 0.0))
    square = z * z
    series = tl.zeros_like(x)
    for k in tl.static_range(_TERMS):
        series = series * square + 1.0 / (2 * (_TERMS - 1 - k) + 1)
    return tl.where(small, 2.0 * z * series, tl.log(1.0 + tl.where(small, 0.0, x)))


@triton.jit
def softplus(x):
    """log(1 + exp(x)) without overflow."""
    return tl.maximum(x, 0.0) + log1p(tl.exp(-tl.abs(x)))


@triton.jit
def sigmoid(x):
    """1 / (1 + exp(-x)) without overflow."""
    small = tl.exp(-tl.abs(x))
    return tl.where(x >= 0, 1.0, small) / (1.0 + small)


@triton.jit
def cut_to_tf32(x):
    """float32 as tensor cores take it for tf32: without its last 13 bits."""
    return (x.to(tl.int32, bitcast=True) & -0x2000).to(tl.float32, bitcast=True)


@triton.jit
def rounded_to_tf32(x):
    """The nearest number that tensor cores take whole."""
    bits = (x.to(tl.int32, bitcast=True) + 0x1000) & -0x2000
    return tl.where(x == x, bits.to(tl.float32, bitcast=True), x)


@triton.jit
def always(x):
    """A mask that holds everywhere."""
    return tl.full(x.shape, 1, tl.int1)


@triton.jit
def arrives_last(counter_p, count):
    """Whether so many programs have counted here, this one as the last: it then reads what the others wrote before."""
    finish_stores()
    tl.debug_barrier()  # all warps have written before one of them counts
    return tl.atomic_add(counter_p, 1, sem="acq_rel") == count - 1


@triton.jit
def load_row(p, row, inside, COUNT: tl.constexpr, WIDTH: tl.constexpr, SHARED: tl.constexpr = False):
    """The first COUNT of WIDTH values of a row, a vector each. SHARED: from where all multiprocessors see what this
    launch has written."""
    values = ()
    for k in tl.static_range(COUNT):
        place_p = p + row.to(tl.int64) * WIDTH + k
        if SHARED:
            value = tl.load(place_p, mask=inside, other=0.0, cache_modifier=".cg")
        else:
            value = tl.load(place_p, mask=inside, other=0.0)
        values = values + (value,)
    return values
