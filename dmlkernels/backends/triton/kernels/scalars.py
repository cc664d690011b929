"""Scalars in kernels: those that come in tuples, and what compiled kernels and interpreted ones spell differently."""

from __future__ import annotations

from ctypes import c_float
from functools import lru_cache
from typing import Any

import triton
import triton.language as tl


def coded(*numbers: int) -> tuple[int, ...]:
    """Numbers that change from batch to batch, for a tuple that a kernel takes: all odd, and none of them 1.

    Triton compiles again where a number in a tuple becomes 1 or a multiple of 16, or no longer is: it heeds
    ``do_not_specialize`` outside tuples only. ``decoded`` undoes it. Below 2**30, all stay in 32 bits.
    """
    return tuple(2 * number + 3 for number in numbers)


@triton.jit
def decoded(numbers):
    """The numbers that ``coded`` was given."""
    found = ()
    for i in tl.static_range(len(numbers)):
        found = found + ((numbers[i] >> 1) - 1,)
    return found


@lru_cache
def split_numbers(numbers: tuple[float, ...]) -> tuple[float, ...]:
    """Each number as two float32, since that is what a kernel is passed; a float64 kernel adds them up."""
    halves: list[float] = []
    for value in numbers:
        high = c_float(value).value
        halves += [high, value - high]
    return tuple(halves)


if triton.knobs.runtime.interpret:

    def loop_bound(value: Any) -> int:
        """An integer to count to. The interpreter holds scalars in arrays, which numpy 2.4 no longer converts."""
        return int(value.handle.data.item()) if hasattr(value, "handle") else int(value)

    def scalar(count: Any) -> Any:
        """A number that was counted, as the tensor that it is when compiled."""
        return tl.full((), count, tl.int32)

    def nan_max(values: Any, axis: int) -> Any:
        """Highest along an axis, NaN if one is. The interpreter would take hours for a reduction of our own."""
        return tl.max(tl.where(values == values, values, float("inf")), axis) + 0.0 * tl.sum(values, axis)

    def number(numbers: Any, index: int, dtype: Any) -> Any:
        """A hyper-parameter that came as two float32: see ``split_numbers``."""
        return tl.full((), numbers[2 * int(index)] + numbers[2 * int(index) + 1], dtype)

    def finish_stores() -> None:
        """Wait until what this thread has stored could be seen. On AMD a barrier does not."""

    def log2(x: Any) -> Any:
        """Binary logarithm. On NVIDIA that of float32 is one instruction instead of some twenty: its error is 2**-22 of
        the result, or near 1 of one, which is below that of a distance. What is no normal number counts as 0."""
        return tl.log2(x)

else:

    @triton.jit
    def loop_bound(value):
        return value

    @triton.jit
    def scalar(count):
        return count

    @triton.jit
    def _nan_maximum(a, b):
        return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)

    @triton.jit
    def nan_max(values, axis: tl.constexpr):
        return tl.reduce(values, axis, _nan_maximum)

    @triton.jit
    def number(numbers, index: tl.constexpr, dtype: tl.constexpr):
        return numbers[2 * index].to(dtype) + numbers[2 * index + 1].to(dtype)

    @triton.jit
    def finish_stores():
        if tl.target_info.is_hip():
            wait: tl.constexpr = "s_waitcnt vmcnt(0)\nv_mov_b32 $0, $1"
            tl.inline_asm_elementwise(wait, "=v,v", [tl.program_id(0)], dtype=tl.int32, is_pure=False, pack=1)

    @triton.jit
    def log2(x):
        if tl.target_info.is_cuda() and x.dtype == tl.float32:
            return tl.inline_asm_elementwise(
                "lg2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
            )
        else:
            return tl.log2(x)
