"""Candidates against what ships, on the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from benchmarks.harness.clocks import Clock
from benchmarks.harness.precision import matmul_precision
from benchmarks.harness.timing import Timing, time_interleaved
from dmlkernels.backends.triton import launch
from dmlkernels.backends.triton.plan import Architecture
from dmlkernels.backends.triton.tiles import Tiles
from tests.triton.predict.__main__ import TYPES
from tests.triton.sweep.places import Place, filled, in_table, run
from tests.triton.sweep.screen import Predicted

FASTER = 0.97  # of the time of what ships, to be worth a row
AGREEMENT = 2e-2  # of two tiles' results, relative, in any of the types
Timings = dict[Tiles | None, Timing]  # None: what ships


def measure(place: Place, predicted: Predicted, arch: Architecture, clock: Clock) -> Timings:
    """Time what is predicted best, and what ships."""
    pairs = filled(place.pairs(), "cuda")
    with matmul_precision(TYPES[place.type_][1]):
        forward = launch.forward(pairs, arch)
    gradient = torch.randn_like(forward.statistics)

    def one(tiles: Tiles | None) -> Tensor:
        with in_table(place, tiles, arch):
            return run(place, pairs, forward, gradient, arch)

    return timed({tiles: partial(one, tiles) for tiles in predicted}, clock)


def timed(runs: Mapping[Tiles | None, Callable[[], Tensor]], clock: Clock) -> Timings:
    """Those that agree with what ships, in turns."""
    expected = runs[None]().float()
    right = {
        tiles: one for tiles, one in runs.items() if (one().float() - expected).norm() <= AGREEMENT * expected.norm()
    }
    names = {str(tiles): tiles for tiles in right}
    timings = time_interleaved({name: right[tiles] for name, tiles in names.items()}, max_rounds=15, clock=clock)
    return {names[name]: timing for name, timing in timings.items()}


def proposed(place: Place, number: int, timings: Timings) -> str | None:
    """The row of the table, if one is worth it."""
    best = min(timings, key=lambda tiles: timings[tiles].median)
    if best is None or timings[best].median > FASTER * timings[None].median:
        return None
    values = best if best.registers else best[:-1]
    return f"Key{tuple(place.key(number))}: Tiles{tuple(values)},".replace("'", '"')
