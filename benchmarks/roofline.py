"""What a GPU can do at best: measured, not read from a data sheet."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import torch

from benchmarks.harness.clocks import CudaClock
from benchmarks.harness.precision import matmul_precision

_ROUNDS = 15
_COPY_BYTES = 2**30
_MATMUL = 8192


def measure_device() -> dict[str, float]:
    """Copy bandwidth (bytes read and written) and dense matmul rates."""
    clock = CudaClock()
    found = {"copy_bytes_per_s": 2 * _COPY_BYTES / _copy_seconds(clock)}
    kinds = (
        ("bfloat16", torch.bfloat16, "highest"),
        ("tf32", torch.float32, "high"),
        ("float32", torch.float32, "highest"),
    )
    for name, dtype, precision in kinds:
        a, b = (torch.randn(_MATMUL, _MATMUL, device="cuda").to(dtype) for _ in range(2))
        with matmul_precision(precision):
            found[f"{name}_matmul_flops_per_s"] = 2 * _MATMUL**3 / _median(clock, partial(torch.matmul, a, b))
    torch.cuda.empty_cache()
    return found


def _copy_seconds(clock: CudaClock) -> float:
    source = torch.empty(_COPY_BYTES, dtype=torch.int8, device="cuda")
    target = torch.empty_like(source)
    return _median(clock, lambda: target.copy_(source))


def _median(clock: CudaClock, run: Callable[[], object]) -> float:
    for _ in range(3):
        run()
    return statistics.median(clock.time(run) for _ in range(_ROUNDS))
