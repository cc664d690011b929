"""Variants timed in turns, so that whatever else the machine does falls on all of them."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.harness.clocks import Clock, WallClock


@dataclass(frozen=True)
class Timing:
    """Seconds of every timed run, in order."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        if len(self.seconds) < 2:
            return self.median, self.median
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return low, high

    @property
    def spread(self) -> float:
        """Interquartile range."""
        low, high = self.quartiles
        return high - low


def time_interleaved(
    runs: Mapping[str, Callable[[], object]],
    *,
    budget: float = 4.0,
    min_rounds: int = 5,
    max_rounds: int = 200,
    warm_ups: int = 1,
    clock: Clock | None = None,
) -> dict[str, Timing]:
    """Time each run once a round, every round starting with another one.

    Args:
        budget: seconds that all rounds together may take; it sets their number within the two limits.
        warm_ups: untimed rounds before the first.
    """
    clock = WallClock() if clock is None else clock
    names = list(runs)
    if not names:
        return {}
    for _ in range(warm_ups):
        for name in names:
            runs[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    collecting = gc.isenabled()
    gc.disable()
    try:
        rounds: list[float] = []  # seconds of each; their median, as a few interruptions should not end the timing
        while len(rounds) < min_rounds or (
            len(rounds) < max_rounds and statistics.median(rounds) * (len(rounds) + 1) < budget
        ):
            first = len(rounds) % len(names)
            order = names[first:] + names[:first]
            elapsed = {name: clock.time(runs[name]) for name in order}
            for name in names:
                seconds[name].append(elapsed[name])
            rounds.append(sum(elapsed.values()))
    finally:
        if collecting:
            gc.enable()
    return {name: Timing(tuple(values)) for name, values in seconds.items()}
