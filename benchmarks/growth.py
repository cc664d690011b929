"""How time and memory grow with B, C, D and the number of points, and what is skipped as a field is trained:
``python -m benchmarks.growth``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.harness.fitting import exponent
from benchmarks.harness.memory import Probe
from benchmarks.harness.records import Record, write
from benchmarks.harness.steps import BOTH
from benchmarks.measure import PRELOAD, Plan, measure
from benchmarks.problems.inputs import Case, make_inputs
from benchmarks.problems.shapes import Shape
from benchmarks.problems.variants import PLAIN_TORCH, REFERENCE, our_backends, ours
from benchmarks.tables import seconds, size
from dmlkernels.backends import Pairs, get
from dmlkernels.functional.field import joined_points
from dmlkernels.functional.inputs import proxy_inputs
from dmlkernels.statistics import Field

_BASE = Shape("sweep", 256, 4000, 128, "growth")
_PROGRESS = (0.0, 0.1, 0.12, 0.14, 0.15, 0.16, 0.18, 0.2, 0.4, 1.0)


@dataclass(frozen=True)
class Sweep:
    """One loss along one axis: the numbers of samples, proxies, dimensions or points, or the progress of training."""

    loss: str
    axis: str
    values: tuple[float, ...]
    pattern: str = "random"
    base: Shape = _BASE

    def case(self, value: float) -> Case:
        if self.axis == "progress":
            return Case(self.loss, replace(self.base, group=2), f"progress:{value}")
        number = int(value)
        changed = {
            "B": replace(self.base, batch=number),
            "C": replace(self.base, proxies=number),
            "D": replace(self.base, dim=number),
            "points": replace(self.base, batch=100, proxies=number - 100, group=2),
        }[self.axis]
        return Case(self.loss, changed, self.pattern)


_B, _C, _D = (64, 256, 1024, 4096), (1000, 4000, 16_000, 64_000), (32, 128, 512, 2048)
SWEEPS = (
    *(
        Sweep(loss, axis, values)
        for loss in ("pd", "normalized_softmax", "proxy_anchor")
        for axis, values in (("B", _B), ("C", _C), ("D", _D))
    ),
    *(Sweep("field", "points", (1000, 2000, 4000, 8000), pattern) for pattern in ("clustered", "collapsed")),
    Sweep("field", "progress", _PROGRESS),
)


def run(sweeps: tuple[Sweep, ...], probe: Probe, plan: Plan) -> Iterator[Record]:
    for sweep in sweeps:
        for value in sweep.values:
            case = sweep.case(value)
            names = [ours(backend) for backend in our_backends(case.device)]
            names += [PLAIN_TORCH] if sweep.axis == "progress" else [REFERENCE, PLAIN_TORCH]  # dense: no progress
            for record in measure(case, BOTH, probe, plan, names):
                record |= {"kind": "growth", "axis": sweep.axis, "value": value, "sweep": _name(sweep)}
                if sweep.loss == "field":
                    record["skipped"] = skipped_share(case)
                yield record


def skipped_share(case: Case) -> float:
    """Share of the tiles, each pair of points once, that take no part in the backward pass."""
    inputs = make_inputs(case)
    resolved = proxy_inputs(
        inputs.embeddings, inputs.labels, inputs.proxies, inputs.proxy_labels,
        ignore_index=-100, backend="torch", validate=False, needs_samples=False,
    )  # fmt: skip
    points, labels = joined_points(resolved)
    splits = (case.shape.batch,)
    field = Pairs(Field(3.0, 0.2, 0.2, 1e-2, True), points, row_labels=labels, within=True, row_boundaries=splits)
    has_grad = get("torch").forward(field).saved
    once = torch.ones_like(has_grad).triu() > 0
    return 1 - float(has_grad[once].mean())


def exponents(records: list[Record]) -> Iterator[tuple[str, str, float, float]]:
    """(sweep, variant, exponent of time, exponent of memory), on the two largest thirds of each sweep's sizes."""
    keys = dict.fromkeys((r["sweep"], r["variant"]) for r in records if r["axis"] != "progress")
    for sweep, variant in keys:
        found = [r for r in records if (r["sweep"], r["variant"]) == (sweep, variant) and "median_s" in r][1:]
        sizes = [r["value"] for r in found]
        times = exponent(sizes, [r["median_s"] for r in found])
        yield sweep, variant, times, exponent(sizes, [r["extra_bytes"] or 0 for r in found])


def _name(sweep: Sweep) -> str:
    shape = sweep.base
    fixed = {"B": f"B={shape.batch}", "C": f"C={shape.proxies}", "D": f"D={shape.dim}"}
    fixed.pop(sweep.axis, None)
    if sweep.axis in ("points", "progress"):
        fixed = {"D": fixed["D"], "pattern": sweep.pattern} if sweep.axis == "points" else fixed
    return f"{sweep.loss} against {sweep.axis} ({', '.join(fixed.values())})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="sweeps whose 'loss against axis' contains this")
    parser.add_argument("--record", type=Path, help="append the results to this file of JSON lines")
    parser.add_argument("--budget", type=float, default=2.0, help="seconds of timed rounds per point")
    options = parser.parse_args()
    chosen = tuple(sweep for sweep in SWEEPS if options.only in _name(sweep))
    kept = []
    with Probe(PRELOAD) as probe:
        for record in run(chosen, probe, Plan(budget=options.budget, min_rounds=3)):
            kept.append(record)
            shown = seconds(record["median_s"]) if "median_s" in record else f"{record['status']} {record['reason']}"
            skipped = f"  skipped {record['skipped']:.0%}" if "skipped" in record else ""
            print(
                f"{record['sweep']:<48} {record['value']:>8g}  {record['variant']:<16} {shown:>9}"
                f"  {size(record['extra_bytes']):>10}{skipped}",
                flush=True,
            )
            if options.record is not None:
                write(options.record, [record])
    print("\nfitted exponents (the smallest size left out): time, memory")
    for sweep, variant, time, memory in exponents(kept):
        print(f"{sweep:<48} {variant:<16} {time:5.2f} {memory:5.2f}")


if __name__ == "__main__":
    main()
