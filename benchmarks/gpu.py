"""Everything a GPU machine is asked for, in one command without network: ``python -m benchmarks.gpu --out FOLDER``.

Runs the tests that use the GPU, measures what the device can do, then the benchmark list, and writes it all to one
folder; ``python -m benchmarks.report --from FOLDER`` renders it again. It stops starting measurements when the
time is up and records what it left out.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.harness.memory import Probe
from benchmarks.harness.precision import products_in
from benchmarks.harness.records import Record, provenance, write
from benchmarks.harness.steps import BOTH, FORWARD
from benchmarks.harness.warming import Asked, warm
from benchmarks.measure import PRELOAD, Plan, measure
from benchmarks.problems.inputs import Case
from benchmarks.problems.shapes import SHAPES
from benchmarks.problems.truth import dense_scores, most_dense
from benchmarks.problems.variants import COMPILED, is_ours, ours, variant_names
from benchmarks.roofline import measure_device
from benchmarks.tables import describe

ROOT = Path(__file__).resolve().parents[1]
_ORDER = (  # the most telling first, since time may run out
    ("pd", "faces128"), ("normalized_softmax", "faces128"), ("field", "field_sop"), ("proxy_anchor", "faces128"),
    ("normalized_softmax", "faces"), ("normalized_softmax", "cub"), ("pd", "cub"), ("pd", "million"),
    ("normalized_softmax", "million"), ("arcface", "faces128"), ("soft_triple", "centers"),
    ("symmetric_kl", "faces128"), ("fused", "field_sop"), ("pd", "sop"), ("normalized_softmax", "sop"),
    ("proxy_anchor", "cub"), ("field", "field1600"), ("odba", "faces"), ("decidability", "pairs_large"),
    ("cosface", "faces128"), ("proxy_nca", "sop"),
)  # fmt: skip
_COMPILED, _TYPES_COMPILED = 2, ("autocast", "high")  # cases and types that torch.compile is given; it takes long
# As autocast has it, float32 in tf32, all-bfloat16 training, and float32 as it is: dtypes and precision of products.
_TYPES = (
    ("bfloat16", "autocast"),
    ("float32", "high"),
    ("bfloat16 x bfloat16", "highest"),
    ("float32", "highest"),
)
_IN_EVERY_TYPE = 5  # cases; those behind them have the first two types


def run_tests(folder: Path, seconds: float) -> str:
    command = [sys.executable, "-m", "tests.gpu", "--out", str(folder.resolve()), "--budget", str(seconds)]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    return "passed" if code == 0 else "FAILED or were stopped"


def cases() -> Iterator[Asked]:
    """What is measured, and how products are rounded, see ``products_in``."""
    for place, (loss, shape) in enumerate(_ORDER):
        for dtype, precision in _TYPES if place < _IN_EVERY_TYPE else _TYPES[:2]:
            case = Case(loss, SHAPES[shape], "clustered", dtype, "cuda")
            left_out = [ours("torch")]
            if place >= _COMPILED or precision not in _TYPES_COMPILED:
                left_out.append(COMPILED)
            yield case, precision, [name for name in variant_names(case) if name not in left_out]


def compilations() -> Iterator[Asked]:
    """What has to be compiled for them: our kernels, torch.compile's, and float64's where they are the truth."""
    for case, precision, names in cases():
        yield case, precision, [name for name in names if is_ours(name) or name == COMPILED]
        if dense_scores(case) > most_dense(case.device):
            yield replace(case, dtype="float64"), "highest", [ours("triton")]


def measurements(
    listed: Iterable[Asked], probe: Probe, rates: dict[str, float], deadline: float
) -> Iterator[list[Record]]:
    """One list for every case; what there was no time for has that as its status."""
    plan = Plan(budget=0.3, min_rounds=5, max_rounds=100, limit_seconds=60)
    mode = BOTH  # benchmarks.kernels says what of it is forward
    for case, precision, names in listed:
        with products_in(precision, case.device):
            if time.monotonic() > deadline:
                records = [_left_out(case, mode)]
            else:
                try:
                    records = measure(case, mode, probe, plan, names)
                except torch.OutOfMemoryError as error:
                    records = [_left_out(case, mode) | {"status": "does not fit", "reason": str(error)[:200]}]
        yield [record | {"products": precision} | _shares(record, precision, rates) for record in records]
        torch.cuda.empty_cache()


def _left_out(case: Case, mode: str) -> Record:
    return {
        "kind": "time", "loss": case.loss, "variant": "all", "default": False, "mode": mode,
        "shape": vars(case.shape), "pattern": case.pattern, "dtype": case.dtype, "seed": case.seed,
        "status": "not measured", "reason": "out of time", "extra_bytes": None,
    } | provenance(case.device)  # fmt: skip


def _shares(record: Record, precision: str, rates: dict[str, float]) -> Record:
    """Compute which part of the device's measured matmul rate and copy bandwidth our passes reach."""
    if not is_ours(record["variant"]) or "median_s" not in record:
        return {}
    case = Case.from_json({name: record[name] for name in ("loss", "shape", "pattern", "dtype")})
    product_type = rate_name(case, precision)
    return {
        "product_type": product_type,
        "share_of_matmul": record["flops_executed"] / record["median_s"] / rates[f"{product_type}_matmul_flops_per_s"],
        "share_of_copy_bandwidth": least_traffic(case, record["mode"]) / record["median_s"] / rates["copy_bytes_per_s"],
    }


def rate_name(case: Case, precision: str) -> str:
    """Which of the device's matmul rates bounds a case."""
    rows, columns = case.dtypes
    if rows == columns == torch.bfloat16 or precision == "autocast":
        return "bfloat16"
    return "float32" if precision == "highest" else "tf32"


def least_traffic(case: Case, mode: str) -> int:
    """Count bytes: every vector read once forward, once backward, and its gradient written once."""
    rows, columns = case.dtypes
    once = case.shape.dim * (case.shape.batch * rows.itemsize + case.shape.proxies * columns.itemsize)
    return once if mode == FORWARD else 3 * once


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for everything that is written")
    parser.add_argument("--minutes", type=float, default=7.0, help="start no measurement after this")
    parser.add_argument("--tests", type=float, default=150.0, help="seconds of tests; 0 for none")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no GPU that torch can use")
    started = time.monotonic()
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "gpu.jsonl"
    file.unlink(missing_ok=True)
    with (options.out / "environment.txt").open("w") as text:
        subprocess.run([sys.executable, "-m", "dmlkernels"], cwd=ROOT, stdout=text, stderr=text, check=False)
    tests = run_tests(options.out, options.tests) if options.tests else "not run"
    print(f"tests {tests} ({options.out / 'tests.md'})", flush=True)
    print(*warm(compilations(), (started + 60 * options.minutes - time.monotonic()) / 3), sep="\n", flush=True)
    rates = measure_device()
    write(file, [{"kind": "roofline", "tests": tests} | rates | provenance("cuda")])
    print(*(f"{name}: {value:.3e}" for name, value in rates.items()), sep="\n", flush=True)
    with Probe(PRELOAD) as probe:
        for records in measurements(cases(), probe, rates, started + 60 * options.minutes):
            write(file, records)
            print(*describe(records), sep="\n", flush=True)
    subprocess.run(
        [sys.executable, "-m", "benchmarks.report", "--from", str(options.out.resolve())], cwd=ROOT, check=False
    )
    print(f"everything is in {options.out}, after {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
