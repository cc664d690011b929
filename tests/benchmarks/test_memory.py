"""The memory probe sees what is allocated, and nothing else."""

from collections.abc import Iterator

import pytest

from benchmarks.harness.memory import Probe

TARGETS = "tests.benchmarks.targets"


@pytest.fixture(scope="module")
def probe() -> Iterator[Probe]:
    with Probe([TARGETS]) as probe:
        yield probe


def mebibytes(probe: Probe, target: str, **arguments: int) -> float:
    memory = probe.peak(f"{TARGETS}:{target}", arguments)
    assert memory.status == "ok" and memory.extra_bytes is not None, memory
    return memory.extra_bytes / 2**20


@pytest.mark.parametrize("size", [16, 100])
def test_sees_a_known_allocation(probe: Probe, size: int) -> None:
    assert mebibytes(probe, "allocate", mebibytes=size) == pytest.approx(size, abs=2)


def test_leaves_out_the_inputs(probe: Probe) -> None:
    assert mebibytes(probe, "allocate_beside", mebibytes=32, inputs=200) == pytest.approx(32, abs=2)


def test_takes_the_peak_not_the_sum(probe: Probe) -> None:
    assert mebibytes(probe, "allocate_twice_in_turn", mebibytes=64) == pytest.approx(64, abs=2)


def test_a_small_measurement_after_a_large_one_starts_from_zero(probe: Probe) -> None:
    mebibytes(probe, "allocate", mebibytes=300)
    assert mebibytes(probe, "allocate", mebibytes=8) == pytest.approx(8, abs=2)


def test_what_outgrows_the_limit_does_not_fit(probe: Probe) -> None:
    memory = probe.peak(f"{TARGETS}:allocate_until_killed", {}, limit_bytes=600 * 2**20)
    assert (memory.status, memory.extra_bytes) == ("does not fit", None)


def test_what_takes_too_long_is_stopped(probe: Probe) -> None:
    memory = probe.peak(f"{TARGETS}:allocate_until_killed", {}, limit_seconds=0.2)
    assert memory.status == "too slow"


def test_an_error_is_reported_and_the_probe_lives_on(probe: Probe) -> None:
    memory = probe.peak(f"{TARGETS}:fail", {})
    assert (memory.status, memory.reason) == ("failed", "ValueError: what went wrong")
    assert mebibytes(probe, "allocate", mebibytes=8) == pytest.approx(8, abs=2)
