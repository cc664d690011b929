"""The largest number of proxies that fits, and what the memory goes to: ``python -m benchmarks.largest --gib 8``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.harness.fitting import linear
from benchmarks.harness.memory import Probe
from benchmarks.harness.records import Record, provenance, write
from benchmarks.harness.steps import BOTH
from benchmarks.measure import PRELOAD
from benchmarks.problems.inputs import Case
from benchmarks.problems.shapes import Shape
from benchmarks.problems.variants import COMPILED, variant_names
from benchmarks.tables import size

BASE = Shape("largest", 1024, 0, 128, "the memory of a training step against C")
_SIZES = (8000, 24_000, 48_000)
_FLOAT = 4
_LOSSES = ("pd", "normalized_softmax", "cosface", "arcface", "proxy_anchor", "soft_triple")


def largest(case: Case, name: str, probe: Probe, budget_bytes: int) -> Record:
    """From a line through the measured peaks at three sizes: all that is left is proportional to C.

    A training step holds the proxies, their gradient, the two moments of Adam, and what the loss works with; only the
    last differs between implementations, and nothing else is what ours removes.
    """
    peaks = []
    for proxies in _SIZES:
        sized = replace(case, shape=replace(case.shape, proxies=proxies))
        asked = {"case": sized.to_json(), "name": name, "mode": BOTH}
        memory = probe.peak("benchmarks.problems.variants:probe", asked, case.device)
        if memory.extra_bytes is None:
            return _head(case, name, budget_bytes) | {"status": memory.status, "reason": memory.reason}
        peaks.append(memory.extra_bytes - _FLOAT * case.shape.dim * proxies)  # the gradient is counted apart
    slope, constant = linear(_SIZES, peaks)
    work = max(0.0, slope)
    row = _FLOAT * case.shape.dim
    fixed = max(0.0, constant) + _FLOAT * case.shape.batch * case.shape.dim
    most = int((budget_bytes - fixed) / (work + 4 * row))
    return _head(case, name, budget_bytes) | {
        "status": "ok",
        "work_bytes_per_proxy": work,
        "largest": most,
        "proxies_bytes": most * row,
        "gradient_bytes": most * row,
        "optimiser_bytes": 2 * most * row,
        "work_bytes": int(work * most + fixed),
        "largest_without_optimiser": int((budget_bytes - fixed) / (work + 2 * row)),
    }


def _head(case: Case, name: str, budget_bytes: int) -> Record:
    return {
        "kind": "largest",
        "loss": case.loss,
        "variant": name,
        "shape": asdict(case.shape),
        "pattern": case.pattern,
        "dtype": case.dtype,
        "seed": case.seed,
        "budget_bytes": budget_bytes,
    } | provenance(case.device)


def run(probe: Probe, budget_bytes: int, device: str = "cpu") -> Iterator[Record]:
    for loss in _LOSSES:
        shape = replace(BASE, group=10) if loss == "soft_triple" else BASE
        case = Case(loss, shape, "random", device=device)
        for name in variant_names(case):
            if name != COMPILED:
                yield largest(case, name, probe, budget_bytes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=8.0, help="memory that the step may take")
    parser.add_argument("--record", type=Path, help="append the results to this file of JSON lines")
    options = parser.parse_args()
    print(f"B {BASE.batch}, D {BASE.dim}, float32, Adam, {options.gib:g} GiB: largest C, and where the memory goes")
    print(f"{'':50} {'largest C':>12} {'proxies':>10} {'gradient':>10} {'Adam':>10} {'the loss':>10}")
    with Probe(PRELOAD) as probe:
        for record in run(probe, int(options.gib * 2**30)):
            if options.record is not None:
                write(options.record, [record])
            title = f"{record['loss']:<20} {record['variant']:<29}"
            if record["status"] != "ok":
                print(f"{title} {record['status']}: {record['reason']}", flush=True)
                continue
            parts = [record[f"{part}_bytes"] for part in ("proxies", "gradient", "optimiser", "work")]
            print(f"{title} {record['largest']:>12,} " + " ".join(f"{size(part):>10}" for part in parts), flush=True)


if __name__ == "__main__":
    main()
