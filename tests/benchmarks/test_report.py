"""Reports are made from records alone, with every device in tables of its own."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness.fitting import exponent, linear
from benchmarks.harness.records import Record, read, write
from benchmarks.harness.steps import BOTH
from benchmarks.problems.shapes import SHAPES
from benchmarks.report import END, START, between_markers, in_full, summary
from benchmarks.reporting import markdown
from benchmarks.reporting.pictures import draw
from benchmarks.targets import Promise, Target, verdicts


def record(variant: str, median: float | None, **changed: Any) -> Record:
    made: Record = {
        "kind": "time", "loss": "pd", "variant": variant, "mode": BOTH, "pattern": "random", "dtype": "float32",
        "shape": {"name": "cub", "batch": 128, "proxies": 100, "dim": 512, "reason": "", "group": 1},
        "seed": 0, "status": "ok", "reason": "", "extra_bytes": 2**20, "default": variant == "ours, torch",
        "flops_exact": 10**9, "commit": "abc", "modified": False, "device": "a CPU", "device_type": "cpu",
        "versions": {"torch": "2.13"}, "threads": 2, "load": 0.1,
    }  # fmt: skip
    if median is not None:
        made |= {
            "median_s": median, "iqr_s": 0.0, "quartiles_s": [median, median], "rounds": 3, "seconds": [median] * 3,
            "exact_flops_per_s": 1e9 / median,
        }  # fmt: skip
    return made | changed


def test_records_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "results.jsonl"
    write(path, [record("reference", 1.0)])
    write(path, [record("reference", 2.0)])
    assert [found["median_s"] for found in read([path])] == [1.0, 2.0]


def test_ratios_are_against_ours_and_missing_ones_say_why() -> None:
    records = [
        record("ours, torch", 0.01),
        record("reference", 0.04, extra_bytes=3 * 2**20),
        record("plain PyTorch", None, status="does not fit", reason="needs over 10 GiB", extra_bytes=None),
    ]
    *_, row = markdown.ratios(records, BOTH)
    assert row == "| pd | 128 x 100 x 512 | random | torch | 1 MiB | 4.00 / 3.0 | does not fit |"


def test_kernels_alone_have_a_table_where_they_were_timed() -> None:
    gpu = {"device_type": "cuda", "device": "a GPU"}
    records = [
        record("ours, torch", 0.01, device_s=0.002, **gpu),
        record("reference", 0.04, device_s=0.01, **gpu),
        record("plain PyTorch", None, status="wrong", **gpu),
    ]
    *_, row = markdown.ratios(records, BOTH, "device_s")
    assert row == "| pd | 128 x 100 x 512 | random | torch | 2 ms, 1 MiB | 5.00 / 1.0 | wrong |"
    assert len(list(markdown.ratios([record("ours, torch", 0.01)], BOTH, "device_s"))) == 2


def test_kernels_of_a_step_are_listed_with_their_shares() -> None:
    parts = [("prepare_kernel", 1e-5, None), ("forward_kernel", 8e-5, 0.27), ("tiny_kernel", 1e-6, None)]
    kernels = [{"kernel": n, "seconds": s} | ({"share_of_matmul": x} if x else {}) for n, s, x in parts]
    *_, row = markdown.kernels([record("", None, kind="kernels", kernels=kernels, total_s=9.1e-5)])
    assert row == "| pd | 128 x 100 x 512 | 91 µs | prepare 10 µs, forward 80 µs (27%) |"


def test_a_wrong_variant_has_no_number_in_the_tables() -> None:
    records = [record("ours, torch", 0.01), record("reference", None, status="wrong", reason="loss: relative error")]
    *_, row = markdown.ratios(records, BOTH)
    assert row.endswith("| wrong |")
    assert "wrong: loss: relative error" in "\n".join(markdown.in_full(records))


def test_slower_cases_are_listed_when_the_spreads_do_not_overlap() -> None:
    ours = record("ours, torch", 0.03, quartiles_s=[0.02, 0.04])
    (line,) = markdown.slower([ours, record("reference", 0.01), record("plain PyTorch", 0.015)], BOTH)
    assert "reference is 3.00 times as fast, plain PyTorch is 2.00 times as fast" in line
    assert not list(markdown.slower([ours, record("reference", 0.025)], BOTH))


def test_of_a_case_measured_twice_the_fuller_measurement_counts() -> None:
    full = [record("ours, torch", 0.01), record("reference", 0.02)]
    between = record("ours, torch", 0.5, loss="odba")
    (kept, other) = markdown.measurements([*full, between, record("ours, torch", 0.03)])
    assert kept == full and other == [between]
    later = [record("ours, torch", 0.04), record("reference", 0.05)]
    assert markdown.measurements([*full, between, *later])[0] == later


def test_types_other_than_float32_are_named_and_apart() -> None:
    records = [
        record("ours, torch", 0.01),
        record("ours, torch", 0.02, dtype="bfloat16 x bfloat16"),
        record("ours, torch", 0.03, matmul_precision="high"),
    ]
    _, _, *rows = markdown.ratios(records, BOTH)
    assert [row.split(" | ")[1] for row in rows] == [
        "128 x 100 x 512",
        "128 x 100 x 512, bfloat16 x bfloat16",
        "128 x 100 x 512, float32 (high matmul precision)",
    ]


def test_shares_of_a_gpu_stand_beside_what_it_can_do() -> None:
    on_gpu = {"device_type": "cuda", "device": "a GPU"}
    rates = {f"{name}_matmul_flops_per_s": 1e14 for name in markdown.PRODUCT_TYPES}
    measured = {"kind": "roofline", "tests": "passed", "copy_bytes_per_s": 2.5e12} | rates
    shares = {"flops_executed": 5 * 10**11, "share_of_matmul": 0.5, "share_of_copy_bandwidth": 0.01}
    records = [record("none", None) | on_gpu | measured, record("ours, triton", 0.01, **on_gpu, **shares)]
    *_, device = markdown.device(records)
    assert device == "| 2.50 TB/s | 100 TFLOP/s | 100 TFLOP/s | 100 TFLOP/s | passed |"
    *_, share = markdown.roofline(records)
    assert share.endswith("| triton | 10 ms | - | 50 | 50.0% | 1.0% |")
    assert "### Share of what the device can do" in "\n".join(in_full(records))


def test_engines_stand_on_one_line() -> None:
    def engine(variant: str, median: float | None, tiles: bool = False) -> Record:
        return record(variant, median) | {"kind": "engine", "tiles": tiles}

    first = [engine("ours, torch", 0.02), engine("ours, native", 0.01), engine("reference", 0.03)]
    second = [engine("ours, torch", 0.04, True), engine("ours, native", 0.01, True)]
    third = [engine("ours, torch", 0.02), engine("ours, native", 0.01), engine("reference", None) | {"status": "wrong"}]
    *_, whole, tiles, wrong = markdown.engines([*first, *second, *third])
    assert whole == "| pd | 128 x 100 x 512 | random | 2.00 | 3.00 | 1 MiB | 1 MiB |"
    assert tiles == "| pd, tiles only | 128 x 100 x 512 | random | 4.00 |  | 1 MiB | 1 MiB |"
    assert "| 2.00 | wrong |" in wrong


def test_devices_never_share_a_table() -> None:
    ours = record("ours, torch", 0.01, loss="normalized_softmax")
    on_gpu = {"device_type": "cuda", "device": "a GPU", "dtype": "bfloat16"}
    records = [ours, record("ours, torch", 0.001, loss="normalized_softmax", **on_gpu)]
    text = "\n".join(summary(records))
    cpu, gpu = text.split("### GPU")
    assert "1 ms," not in cpu
    assert "1 ms," in gpu
    assert "a CPU" in cpu and "a GPU" in gpu
    assert "## GPU" in "\n".join(in_full(records))


def test_the_readme_has_eight_rows_and_no_absolute_time_of_a_cpu() -> None:
    cases = [
        record(variant, median, loss=loss, pattern=pattern, shape=asdict(SHAPES[shape]))
        for loss, shape, pattern in markdown.HIGHLIGHTS
        for variant, median in (("ours, torch", 0.01), ("plain PyTorch", 0.05))
    ]
    rows = [line for line in summary(cases) if line.startswith("| ")][2:]
    assert len(rows) == 8
    assert all("5.00 / 1.0" in row and " ms" not in row for row in rows)


def test_every_measurement_is_listed_on_request_only() -> None:
    records = [record("ours, torch", 0.01), record("reference", 0.04)]
    assert "All measurements" not in "\n".join(in_full(records))
    assert "All measurements" in "\n".join(in_full(records, every=True))


def test_only_what_is_between_the_markers_is_replaced() -> None:
    text = f"before\n{START}\nold\n{END}\nafter\n"
    once = between_markers(text, "new")
    assert once == f"before\n{START}\n\nnew\n\n{END}\nafter\n"
    assert between_markers(once, "new") == once
    for broken in ("no markers", f"{END} {START}", f"{START} {START} {END}"):
        with pytest.raises(ValueError, match="expected one"):
            between_markers(broken, "new")


def test_fits() -> None:
    assert exponent([1, 10, 100], [3, 300, 30_000]) == pytest.approx(2)
    assert exponent([1], [1]) != exponent([1], [1])  # NaN
    assert linear([1, 2, 3], [12, 22, 32]) == pytest.approx((10, 2))


@pytest.mark.parametrize(("theirs", "met"), [(0.05, True), (0.02, False)])
def test_targets_are_met_or_missed(theirs: float, met: bool) -> None:
    target = Target("pd", "cub", (Promise("reference", 4, 0.5),))
    other = record("reference", theirs, extra_bytes=4 * 2**20)
    (found,) = verdicts(target, [record("ours, torch", 0.01), other])
    assert found["met"] is met
    assert found["speed"] == pytest.approx(theirs / 0.01)


def test_a_target_without_a_baseline_that_fits_is_neither_met_nor_missed() -> None:
    target = Target("pd", "cub", (Promise("reference", 4),), all_gib=0.01)
    other = record("reference", None, status="does not fit", extra_bytes=None)
    against, within = verdicts(target, [record("ours, torch", 0.01), other])
    assert against["met"] is None and "does not fit" in against["found"]
    assert within["met"] is True


def test_pictures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    growth = [
        record("ours, torch", value, kind="growth", axis=axis, value=value, sweep=f"field against {axis}", loss="field",
               skipped=0.5)
        for axis in ("points", "progress")
        for value in (0.25, 0.5, 1.0)
    ]  # fmt: skip
    shape = asdict(SHAPES["faces128"])
    timed = [record(variant, 0.1, shape=shape) for variant in ("ours, torch", "plain PyTorch")]
    names = [path.name for path in draw([*growth, *timed], tmp_path, "cpu")]
    assert names == ["cpu-highlights.png", "cpu-growth-field.png", "cpu-field-training.png"]
    assert all((tmp_path / name).stat().st_size > 5000 for name in names)
