"""Every loss x backend x {forward, forward+backward} x shape, beside its baselines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.cases import cases
from benchmarks.conftest import Bench
from benchmarks.harness.records import SAMPLES
from benchmarks.harness.steps import BOTH, MODES
from benchmarks.problems.inputs import Case
from benchmarks.problems.variants import COMPILED, variant_names

_COMPILES_SECONDS = {("cub", "pd"), ("cub", "proxy_anchor"), ("cub", "normalized_softmax"), ("sop", "pd")}


class ReplayClock:
    """A timer for pytest-benchmark that tells the times already measured.

    pytest-benchmark times one test after the other. Variants are compared fairly only in turns, and a GPU must be
    timed by its own events, so both happen before, and its tables are filled through the ``timer`` that it offers.
    """

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


CLOCK = ReplayClock()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    config = metafunc.config
    full = config.getoption("--benchmark-full")
    parameters = list(_parameters(full, config.getoption("--benchmark-device"), config.getoption("--benchmark-dtype")))
    metafunc.parametrize(("case", "mode", "name", "names"), parameters)


def _parameters(full: bool, device: str, dtype: str) -> Iterator[Any]:
    for case in cases(full, device, dtype):
        for mode in MODES:
            names = tuple(name for name in variant_names(case) if name != COMPILED or _compiles(case, mode, full))
            for name in names:
                label = f"{case.loss}-{case.shape.name}-{case.pattern}-{mode}-{name}"
                yield pytest.param(case, mode, name, names, id=label.replace(" ", "_"))


def _compiles(case: Case, mode: str, full: bool) -> bool:
    """Compiling takes longer than everything else here, so by default only these."""
    chosen = (case.shape.name, case.loss) in _COMPILES_SECONDS and case.pattern == "random" and mode == BOTH
    return chosen or (full and case.shape.name in ("cub", "sop", "faces128", "field1600"))


@pytest.mark.benchmark(timer=CLOCK)
def test_loss(benchmark: Any, bench: Bench, case: Case, mode: str, name: str, names: tuple[str, ...]) -> None:
    benchmark.group = f"{case.loss} | {case.shape.name} {case.shape.label(case.loss)} | {case.pattern} | {mode}"
    benchmark.name = name
    record = bench.record(case, mode, name, names)
    if record["status"] in ("does not fit", "too slow"):
        pytest.skip(f"{record['status']}: {record['reason']}")
    assert record["status"] == "ok", f"{record['status']}: {record['reason']}"
    benchmark.extra_info |= {key: value for key, value in record.items() if key not in (SAMPLES, "shape")}
    times = iter(record[SAMPLES])

    def replay() -> None:
        CLOCK.now += next(times)

    benchmark.pedantic(replay, rounds=len(record[SAMPLES]))
