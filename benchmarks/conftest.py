"""Options of ``pytest benchmarks/ --benchmark-only``, and what it prints beyond pytest-benchmark's own tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.harness.memory import Probe
from benchmarks.harness.records import Record, write
from benchmarks.harness.steps import BOTH
from benchmarks.measure import PRELOAD, Plan, measure
from benchmarks.problems.inputs import Case
from benchmarks.tables import describe

_RECORDS = pytest.StashKey[list[Record]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("dmlkernels")
    group.addoption("--benchmark-full", action="store_true", help="the large shapes too: hours and 16 GiB")
    group.addoption("--benchmark-device", default="cpu", help="cpu (default) or cuda")
    group.addoption("--benchmark-dtype", default="float32", help="of the embeddings: float32 (default), bfloat16, ...")
    group.addoption("--benchmark-budget", type=float, default=1.0, help="seconds of timed rounds per group")
    group.addoption("--benchmark-record", type=Path, help="append the results to this file of JSON lines")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_RECORDS] = []
    # Other libraries are measured here as they are, warnings and all.
    config.addinivalue_line("filterwarnings", "ignore")


class Bench:
    """Measures each group of variants once, all in turns, when the first of them is asked for."""

    def __init__(self, config: pytest.Config, probe: Probe) -> None:
        full = config.getoption("--benchmark-full")
        self._plan = Plan(
            budget=config.getoption("--benchmark-budget"),
            min_rounds=3,
            memory_modes=("forward", BOTH) if full else (BOTH,),
            memory_of_compiled=full,
        )
        self._probe, self._kept = probe, config.stash[_RECORDS]
        self._file: Path | None = config.getoption("--benchmark-record")
        self._group: tuple[Case, str] | None = None
        self._records: dict[str, Record] = {}

    def record(self, case: Case, mode: str, name: str, names: tuple[str, ...]) -> Record:
        if self._group != (case, mode):
            measured = measure(case, mode, self._probe, self._plan, names)
            self._group, self._records = (case, mode), {record["variant"]: record for record in measured}
            self._kept.extend(measured)
            if self._file is not None:
                write(self._file, measured)
        return self._records[name]


@pytest.fixture(scope="session")
def bench(pytestconfig: pytest.Config) -> Iterator[Bench]:
    with Probe(PRELOAD) as probe:
        yield Bench(pytestconfig, probe)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    records = config.stash[_RECORDS]
    if not records:
        return
    terminalreporter.section("time, memory and rate (medians; extra memory beyond the inputs)")
    for line in describe(records):
        terminalreporter.write_line(line)
