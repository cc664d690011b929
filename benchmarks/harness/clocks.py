"""How long one run takes: the wall on a CPU, events with a cold L2 cache on a GPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

FLUSH_BYTES = 256 * 2**20  # more than any L2 cache of today


class Clock(Protocol):
    def time(self, run: Callable[[], object]) -> float:
        """Seconds of one run."""


class WallClock:
    """For work that is done when the call returns."""

    def time(self, run: Callable[[], object]) -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start


class CudaClock:
    """For work on a GPU: between two events, with the L2 cache overwritten before the first."""

    def __init__(self) -> None:
        self._flush = torch.empty(FLUSH_BYTES, dtype=torch.int8, device="cuda")

    def time(self, run: Callable[[], object]) -> float:
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        # While the GPU is busy with this, the host runs ahead and queues the launches of the run.
        self._flush.zero_()
        start.record()
        run()
        stop.record()
        stop.synchronize()
        return start.elapsed_time(stop) / 1e3


class KernelClock:
    """For one kernel of a run on a GPU, by its name, as the profiler times it: without what the host takes."""

    def __init__(self, kernel: str) -> None:
        self._kernel = kernel
        self._flush = torch.empty(FLUSH_BYTES, dtype=torch.int8, device="cuda")

    def time(self, run: Callable[[], object]) -> float:
        self._flush.zero_()
        return sum(event.time_range.elapsed_us() for event in device_events(run) if event.name == self._kernel) / 1e6


def device_events(run: Callable[[], object], rounds: int = 1) -> list[Any]:
    """What a GPU did in so many runs, in order, as the profiler saw it: kernels, copies and fills."""
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        for _ in range(rounds):
            run()
        torch.cuda.synchronize()
    found = [event for event in profiled.events() if event.device_type == DeviceType.CUDA]
    return sorted(found, key=lambda event: event.time_range.start)


def device_seconds(run: Callable[[], object], rounds: int = 5) -> float:
    """What all kernels and copies of a run take on a GPU, without the gaps between them: a step takes no less however
    fast the host is, and no more where the host is ahead of the GPU."""
    run()
    return sum(event.time_range.elapsed_us() for event in device_events(run, rounds)) / rounds / 1e6


def host_seconds(run: Callable[[], object], rounds: int = 20) -> float:
    """Median time in which the host queues a run on an idle GPU. A step that takes no longer is bound by the host."""
    found = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        found.append(WallClock().time(run))
    torch.cuda.synchronize()
    return statistics.median(found)


def clock_for(device: str) -> Clock:
    return CudaClock() if torch.device(device).type == "cuda" else WallClock()
