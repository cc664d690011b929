"""Times come out in the right ratio, and in turns."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType

from benchmarks.harness import clocks
from benchmarks.harness.steps import Step
from benchmarks.harness.timing import Timing, time_interleaved
from benchmarks.kernels import kernels


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


class _Profiled:
    """A profiler that saw these, as (name, start, duration) in microseconds."""

    def __init__(self, *seen: tuple[str, float, float], on: DeviceType = DeviceType.CUDA) -> None:
        self._events = [
            SimpleNamespace(
                name=name, device_type=on, time_range=SimpleNamespace(start=start, elapsed_us=lambda d=duration: d)
            )
            for name, start, duration in seen
        ]

    def __enter__(self) -> _Profiled:
        return self

    def __exit__(self, *_: object) -> None: ...

    def events(self) -> list[SimpleNamespace]:
        return self._events


@pytest.fixture
def _no_gpu_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)


@pytest.mark.usefixtures("_no_gpu_is_waited_for")
def test_the_device_takes_what_its_kernels_do(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _Profiled(("b", 9.0, 4.0), ("a", 1.0, 2.0))
    monkeypatch.setattr(clocks, "profile", lambda activities: seen)
    runs: list[int] = []
    assert [event.name for event in clocks.device_events(lambda: runs.append(0), 3)] == ["a", "b"]
    assert len(runs) == 3
    assert clocks.device_seconds(lambda: None, 2) == pytest.approx(3e-6)
    monkeypatch.setattr(clocks, "profile", lambda activities: _Profiled(("host", 0.0, 1.0), on=DeviceType.CPU))
    assert clocks.device_events(lambda: None) == []


@pytest.mark.usefixtures("_no_gpu_is_waited_for")
def test_kernels_of_equal_steps_are_told_apart_by_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three steps of a flush and two kernels of one name; the medians are of each place."""
    monkeypatch.setattr(torch, "empty", lambda *shape, **options: torch.zeros(1))
    times = [(5.0, 1.0, 7.0), (5.0, 2.0, 9.0), (5.0, 6.0, 8.0)]
    seen = [("same", 10.0 * i + k, time) for i, step in enumerate(times) for k, time in enumerate(step)]
    monkeypatch.setattr(clocks, "profile", lambda activities: _Profiled(*seen))
    step = Step(lambda: torch.zeros((), requires_grad=True), [])
    assert kernels(step, 3) == [("same", pytest.approx(2e-6)), ("same", pytest.approx(8e-6))]
    monkeypatch.setattr(clocks, "profile", lambda activities: _Profiled(*seen[1:]))
    with pytest.raises(RuntimeError, match="8 events of 3 equal steps"):
        kernels(step, 3)
