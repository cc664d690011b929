"""Times come out in the right ratio, and in turns."""

import time

import pytest

from benchmarks.harness.timing import Timing, time_interleaved


def test_sleeps_come_out_in_their_ratio() -> None:
    timings = time_interleaved(
        {"short": lambda: time.sleep(0.05), "long": lambda: time.sleep(0.15)}, min_rounds=7, max_rounds=7
    )
    assert timings["long"].median / timings["short"].median == pytest.approx(3, rel=0.1)
    assert timings["short"].median == pytest.approx(0.05, rel=0.25)


def test_variants_take_turns_and_every_round_starts_with_another() -> None:
    calls: list[str] = []
    time_interleaved(
        {name: lambda name=name: calls.append(name) for name in "abc"}, min_rounds=3, max_rounds=3, warm_ups=1
    )
    assert calls == [*"abc", *"abc", *"bca", *"cab"]


def test_warm_ups_are_not_timed() -> None:
    pauses = iter([0.2, 0.0, 0.0, 0.0])
    timings = time_interleaved({"a": lambda: time.sleep(next(pauses))}, min_rounds=3, max_rounds=3, warm_ups=1)
    assert len(timings["a"].seconds) == 3
    assert max(timings["a"].seconds) < 0.1


def test_the_budget_sets_the_number_of_rounds() -> None:
    timings = time_interleaved({"a": lambda: time.sleep(0.01)}, budget=0.2, min_rounds=2)
    assert 5 <= len(timings["a"].seconds) <= 20


def test_the_least_number_of_rounds_goes_before_the_budget() -> None:
    timings = time_interleaved({"a": lambda: time.sleep(0.01)}, budget=0.0, min_rounds=4)
    assert len(timings["a"].seconds) == 4


def test_median_and_quartiles() -> None:
    timing = Timing((5.0, 1.0, 2.0, 4.0, 3.0))
    assert timing.median == 3.0
    assert timing.quartiles == (2.0, 4.0)
    assert timing.spread == 2.0
    assert Timing((1.5,)).spread == 0.0


class CountingClock:
    """Says that every run took as long as its number."""

    def __init__(self) -> None:
        self.runs = 0

    def time(self, run: object) -> float:
        assert callable(run)
        run()
        self.runs += 1
        return float(self.runs)


def test_another_clock_is_believed() -> None:
    timings = time_interleaved({"a": lambda: None}, min_rounds=3, max_rounds=3, clock=CountingClock())
    assert timings["a"].seconds == (1.0, 2.0, 3.0)
