"""A wrong variant gets no time; what does not fit is said to."""

from collections.abc import Iterator

import pytest
import torch

from benchmarks import measure as measuring
from benchmarks.harness.memory import Probe
from benchmarks.harness.records import Record
from benchmarks.harness.steps import BOTH, FORWARD, Step
from benchmarks.measure import PRELOAD, Plan, measure
from benchmarks.problems import variants
from benchmarks.problems.inputs import Case, Inputs
from benchmarks.problems.shapes import Shape

SMALL = Shape("small", 16, 12, 8, "a test")
QUICK = Plan(budget=0.0, min_rounds=2, memory_modes=())
OURS = "ours, torch"


@pytest.fixture(scope="module")
def probe() -> Iterator[Probe]:
    with Probe(PRELOAD) as probe:
        yield probe


def spoil(monkeypatch: pytest.MonkeyPatch, name: str, factor: float, of_gradient: bool) -> None:
    """Make one variant wrong by a factor, in its value or only in its gradient."""

    def make_step(case: Case, variant: str, inputs: Inputs | None = None) -> Step:
        step = variants.make_step(case, variant, inputs)
        if variant != name:
            return step

        def forward() -> torch.Tensor:
            loss = step.forward()
            return loss * factor - (factor - 1) * loss.detach() if of_gradient else loss * factor

        return Step(forward, step.leaves, step.orient)

    monkeypatch.setattr(measuring, "make_step", make_step)


def by_name(records: list[Record]) -> dict[str, Record]:
    return {record["variant"]: record for record in records}


def test_right_variants_get_a_time(probe: Probe) -> None:
    records = measure(Case("pd", SMALL), BOTH, probe, QUICK, [OURS, "reference"])
    assert [record["status"] for record in records] == ["ok", "ok"]
    assert all(record["median_s"] > 0 and record["rounds"] == 2 for record in records)


@pytest.mark.parametrize("of_gradient", [False, True])
def test_a_wrong_variant_gets_no_time(monkeypatch: pytest.MonkeyPatch, probe: Probe, of_gradient: bool) -> None:
    spoil(monkeypatch, OURS, 1.01, of_gradient)
    found = by_name(measure(Case("normalized_softmax", SMALL), BOTH, probe, QUICK, [OURS, "reference"]))
    assert found[OURS]["status"] == "wrong"
    assert found[OURS]["reason"].startswith("gradient 1" if of_gradient else "loss")
    assert "median_s" not in found[OURS] and "seconds" not in found[OURS]
    assert found["reference"]["median_s"] > 0


def test_rounding_is_not_wrong(monkeypatch: pytest.MonkeyPatch, probe: Probe) -> None:
    spoil(monkeypatch, OURS, 1 + 1e-5, of_gradient=False)
    (record,) = measure(Case("normalized_softmax", SMALL), FORWARD, probe, QUICK, [OURS])
    assert record["status"] == "ok"


def test_nan_is_wrong(monkeypatch: pytest.MonkeyPatch, probe: Probe) -> None:
    spoil(monkeypatch, OURS, float("nan"), of_gradient=False)
    (record,) = measure(Case("pd", SMALL), FORWARD, probe, QUICK, [OURS])
    assert record["status"] == "wrong"


def test_an_error_in_a_variant_is_recorded(monkeypatch: pytest.MonkeyPatch, probe: Probe) -> None:
    def make_step(case: Case, variant: str, inputs: Inputs | None = None) -> Step:
        def forward() -> torch.Tensor:
            raise RuntimeError("not on this device")

        return Step(forward)

    monkeypatch.setattr(measuring, "make_step", make_step)
    (record,) = measure(Case("pd", SMALL), FORWARD, probe, QUICK, [OURS])
    assert (record["status"], record["reason"]) == ("failed", "RuntimeError: not on this device")


def test_a_size_beyond_the_memory_does_not_fit(monkeypatch: pytest.MonkeyPatch, probe: Probe) -> None:
    monkeypatch.setattr(measuring, "usable_bytes", lambda device: 1000)
    (record,) = measure(Case("pd", SMALL), FORWARD, probe, QUICK, ["reference"])
    assert record["status"] == "does not fit" and "GiB" in record["reason"]
    assert "median_s" not in record


def test_records_say_where_they_come_from(probe: Probe) -> None:
    (record,) = measure(Case("pd", SMALL, seed=3), FORWARD, probe, QUICK, [OURS])
    assert record["seed"] == 3 and record["dtype"] == "float32"
    assert record["shape"]["batch"] == 16 and record["threads"] == torch.get_num_threads()
    assert {"commit", "device", "versions"} <= record.keys()
    assert record["versions"]["torch"] == torch.__version__
    assert record["flops_exact"] == 2 * 16 * 12 * 8
    assert record["exact_flops_per_s"] == pytest.approx(record["flops_exact"] / record["median_s"])


def test_the_probe_sees_less_memory_for_ours_than_for_the_reference(probe: Probe) -> None:
    plan = Plan(budget=0.0, min_rounds=1)
    shape = Shape("wide", 512, 8192, 16, "a score matrix of 16 MiB")
    found = by_name(measure(Case("pd", shape), BOTH, probe, plan, [OURS, "reference"]))
    assert found["reference"]["extra_bytes"] > 3 * 16 * 2**20
    assert found[OURS]["extra_bytes"] < 16 * 2**20
