"""What the list for a GPU does with its cases, walked through on the CPU."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from benchmarks import gpu
from benchmarks.harness.memory import Probe
from benchmarks.harness.precision import products_in
from benchmarks.harness.steps import BOTH, FORWARD
from benchmarks.harness.warming import warm
from benchmarks.measure import PRELOAD
from benchmarks.problems.inputs import Case
from benchmarks.problems.shapes import Shape
from benchmarks.problems.variants import COMPILED, is_ours
from benchmarks.report import in_full
from benchmarks.reporting import markdown

ONE = Case("pd", Shape("cub", 16, 12, 8, "a test"))
NAMES = ["ours, torch", "reference"]
LISTED = [
    (replace(ONE, dtype="bfloat16 x bfloat16"), "highest", NAMES),
    (replace(ONE, dtype="bfloat16"), "autocast", NAMES),
    (replace(ONE), "high", NAMES),
]
RATES = {"copy_bytes_per_s": 1e12} | {f"{name}_matmul_flops_per_s": 1e12 for name in markdown.PRODUCT_TYPES}


@pytest.fixture(scope="module")
def probe() -> Iterator[Probe]:
    with Probe(PRELOAD) as made:
        yield made


def test_ours_get_their_share_of_the_device(probe: Probe) -> None:
    records = [record for found in gpu.measurements(LISTED, probe, RATES, float("inf")) for record in found]
    assert {(record["dtype"], record["products"], record["mode"]) for record in records} == {
        (case.dtype, precision, BOTH) for case, precision, _ in LISTED
    }
    for record in records:
        assert ("share_of_matmul" in record) == (is_ours(record["variant"]) and record["status"] == "ok")
    shared = [record for record in records if "share_of_matmul" in record]
    assert {record["product_type"] for record in shared} == {"bfloat16", "tf32"}
    for record in shared:
        assert record["share_of_matmul"] == record["flops_executed"] / record["median_s"] / 1e12
    assert len(list(markdown.roofline(records))) == 2 + len(shared)
    assert "bfloat16 (autocast to bfloat16)" in "\n".join(markdown.roofline(records))
    assert "### Share of what the device can do" in "\n".join(in_full(records))


def test_what_there_is_no_time_for_is_recorded(probe: Probe) -> None:
    found = list(gpu.measurements(LISTED, probe, RATES, time.monotonic() - 1))
    assert [[record["status"] for record in records] for records in found] == [["not measured"]] * len(LISTED)


def test_every_case_of_the_list_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {(case, precision): names for case, precision, names in gpu.cases()}
    assert {(case.loss, case.shape.name) for case, _ in listed} == set(gpu._ORDER)
    assert all(case.device == "cuda" for case, _ in listed)
    assert {precision for case, precision in listed if (case.loss, case.shape.name) == gpu._ORDER[0]} == {
        precision for _, precision in gpu._TYPES
    }
    compiled = {(case.loss, case.shape.name) for (case, _), names in listed.items() if COMPILED in names}
    assert compiled == set(gpu._ORDER[: gpu._COMPILED])
    monkeypatch.setattr(gpu, "most_dense", lambda device: 2**30)
    wide = {(case.loss, case.shape.name) for case, _, _ in gpu.compilations() if case.dtype == "float64"}
    assert wide == {("pd", "million"), ("normalized_softmax", "million")}


def test_warming_says_what_goes_wrong() -> None:
    right, wrong = warm([(ONE, "highest", NAMES), (ONE, "highest", ["ours, none"])], 60.0), warm([], 1.0)
    assert len(right) == 1 and "ours, none" in right[0] and wrong == []
    assert warm([(ONE, "highest", NAMES)], -1.0) == ["out of time"]


def test_what_bounds_a_case_on_a_gpu() -> None:
    both, autocast = (replace(ONE, dtype=dtype) for dtype in ("bfloat16 x bfloat16", "bfloat16"))
    assert gpu.rate_name(both, "highest") == "bfloat16"
    assert gpu.rate_name(autocast, "highest") == "float32"
    assert gpu.rate_name(autocast, "high") == "tf32"
    assert gpu.rate_name(autocast, "autocast") == "bfloat16"
    assert gpu.least_traffic(both, FORWARD) == 2 * (16 + 12) * 8
    assert gpu.least_traffic(autocast, BOTH) == 3 * (2 * 16 + 4 * 12) * 8


@pytest.mark.parametrize(("kind", "precision"), [("high", "high"), ("autocast", "highest")])
def test_how_products_are_rounded_is_put_back(kind: str, precision: str) -> None:
    before = torch.get_float32_matmul_precision()
    with products_in(kind, "cpu"):
        assert torch.get_float32_matmul_precision() == precision
        assert (torch.eye(2) @ torch.eye(2)).dtype == (torch.bfloat16 if kind == "autocast" else torch.float32)
    assert torch.get_float32_matmul_precision() == before and not torch.is_autocast_enabled("cpu")
