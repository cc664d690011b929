"""Where the time of a step goes on a GPU, kernel by kernel: ``python -m benchmarks.kernels --out FILE``.

Each line is a kernel of the step in its order, with its median time from the profiler; forward and backward kernels
also with their share of the device's matmul rate, to hold against what docs/kernels.md predicts.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import torch

from benchmarks.gpu import rate_name
from benchmarks.harness.clocks import FLUSH_BYTES, device_events
from benchmarks.harness.precision import products_in
from benchmarks.harness.records import Record, provenance, write
from benchmarks.harness.steps import BOTH, Step
from benchmarks.harness.warming import warm
from benchmarks.problems.inputs import Case
from benchmarks.problems.shapes import SHAPES
from benchmarks.problems.variants import make_step, ours
from benchmarks.problems.work import COUNTED, counted
from benchmarks.roofline import measure_device

_ROUNDS = 15
_CASES = (
    ("normalized_softmax", "faces128"), ("pd", "faces128"), ("field", "field_sop"), ("symmetric_kl", "faces128"),
    ("fused", "field_sop"), ("odba", "faces128"), ("proxy_anchor", "faces128"), ("normalized_softmax", "faces"),
    ("pd", "faces"), ("arcface", "faces128"), ("soft_triple", "centers"), ("normalized_softmax", "cub"), ("pd", "cub"),
    ("decidability", "pairs_large"),
)  # fmt: skip
_TYPES = (
    ("bfloat16 x bfloat16", "highest"),
    ("bfloat16", "autocast"),
    ("float32", "high"),
    ("float32", "highest"),
)


def kernels(step: Step, rounds: int = _ROUNDS) -> list[tuple[str, float]]:
    """Names and median seconds of what a step launches, in order, each step with a cold L2 cache."""
    flush = torch.empty(FLUSH_BYTES, dtype=torch.int8, device="cuda")

    def run() -> None:
        flush.zero_()
        step.run(BOTH)

    for _ in range(3):
        run()
    events = device_events(run, rounds)
    each, odd = divmod(len(events), rounds)
    if odd or not each:
        raise RuntimeError(f"{len(events)} events of {rounds} equal steps")
    steps = [events[i * each + 1 : (i + 1) * each] for i in range(rounds)]  # the first is the flush
    return [
        (same[0].name, statistics.median(event.time_range.elapsed_us() for event in same) / 1e6)
        for same in zip(*steps, strict=True)
    ]


def record_of(case: Case, precision: str, rates: dict[str, float]) -> Record:
    step = make_step(case, ours("triton"))
    with counted() as work:
        step.run(BOTH)
    found = kernels(step)
    rate = rates[f"{rate_name(case, precision)}_matmul_flops_per_s"]
    products = iter(work.launches)
    lines = []
    for name, seconds in found:
        line: Record = {"kernel": name, "seconds": seconds}
        if name in COUNTED:
            line["share_of_matmul"] = next(products) / seconds / rate
        lines.append(line)
    return {
        "kind": "kernels", "loss": case.loss, "shape": vars(case.shape), "pattern": case.pattern,
        "dtype": case.dtype, "products": precision,
        "kernels": lines, "total_s": sum(seconds for _, seconds in found),
    } | provenance(case.device)  # fmt: skip


def lines_of(record: Record) -> Iterator[str]:
    shape = record["shape"]["name"]
    total = record["total_s"]
    yield f"{record['loss']} {shape} {record['dtype']} {record['products']}: {total * 1e6:.0f} us"
    for one in record["kernels"]:
        share = f"{one['share_of_matmul']:6.0%}" if "share_of_matmul" in one else ""
        yield f"  {one['seconds'] * 1e6:9.1f} us {one['kernel'][:70]:<70} {share}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=120.0, help="start no case after this")
    parser.add_argument("--only", default="", help="a regular expression: cases with this in their name")
    options = parser.parse_args()
    listed = [
        (Case(loss, SHAPES[shape], "clustered", dtype, "cuda"), precision, [ours("triton")])
        for (dtype, precision), (loss, shape) in product(_TYPES, _CASES)
        if re.search(options.only, f"{loss} {shape} {dtype} {precision}")
    ]
    started = time.monotonic()
    print(*warm(listed, options.seconds / 2), sep="\n", flush=True)
    print(f"compiled after {time.monotonic() - started:.0f} s", flush=True)
    rates = measure_device()
    print(*(f"{name}: {value:.3e}" for name, value in rates.items()), sep="\n", flush=True)
    for case, precision, _ in listed:
        name = f"{case.loss} {case.shape.name} {case.dtype} {precision}"
        if time.monotonic() > started + options.seconds:
            print(f"out of time before {name}")
            return
        try:
            with products_in(precision, "cuda"):
                record = record_of(case, precision, rates)
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {error}"[:500], flush=True)
            continue
        write(options.out, [record])
        print(*lines_of(record), sep="\n", flush=True)


if __name__ == "__main__":
    main()
