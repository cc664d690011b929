"""What was promised, beside what is measured here: ``python -m benchmarks.targets``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.harness.memory import Probe
from benchmarks.harness.records import Record, provenance, write
from benchmarks.harness.steps import BOTH
from benchmarks.measure import PRELOAD, Plan, measure
from benchmarks.problems.inputs import Case
from benchmarks.problems.shapes import SHAPES
from benchmarks.problems.variants import CHUNKED, PLAIN_TORCH, PML, REFERENCE, our_backends, ours
from benchmarks.tables import describe, seconds, size


@dataclass(frozen=True)
class Promise:
    """At least ``speed`` times as fast as the baseline, with at most ``memory`` of its extra memory."""

    baseline: str
    speed: float | None = None
    memory: float | None = None


@dataclass(frozen=True)
class Target:
    loss: str
    shape: str
    promises: tuple[Promise, ...] = ()
    extra_gib: float | None = None  # at most so much beyond the inputs
    all_gib: float | None = None  # at most so much, inputs included
    pattern: str = "random"

    @property
    def case(self) -> Case:
        return Case(self.loss, SHAPES[self.shape], self.pattern)


_SOFTMAX = (Promise(PLAIN_TORCH, 1, 1 / 5), Promise(PML))
TARGETS = (
    *(
        Target(loss, "cub_centers" if loss == "soft_triple" else "cub", (Promise(PML, 1),), pattern="clustered")
        for loss in ("proxy_anchor", "proxy_nca", "normalized_softmax", "cosface", "arcface", "soft_triple")
    ),
    Target("pd", "cub", (Promise(REFERENCE, 1), Promise(PLAIN_TORCH))),
    Target("pd", "sop", (Promise(REFERENCE, 2.5), Promise(PLAIN_TORCH))),
    Target("pd", "sop128", (Promise(REFERENCE, 15, 0.1), Promise(PLAIN_TORCH, 5, 0.1))),
    Target("pd", "faces128", (Promise(REFERENCE, 15, 0.1), Promise(PLAIN_TORCH, 5, 0.1))),
    Target("pd", "million", (Promise(REFERENCE), Promise(PLAIN_TORCH)), all_gib=4),
    Target("field", "field1600", (Promise(REFERENCE, 1), Promise(PLAIN_TORCH))),
    Target("field", "field1600", (Promise(REFERENCE, 1), Promise(PLAIN_TORCH)), pattern="collapsed"),
    Target("field", "field_sop", (Promise(REFERENCE, 1), Promise(PLAIN_TORCH)), extra_gib=1.5),
    Target("proxy_anchor", "faces128", (Promise(PML, 3, 1 / 10), Promise(PLAIN_TORCH))),
    Target("normalized_softmax", "faces128", (*_SOFTMAX, Promise(CHUNKED))),
    Target("cosface", "faces128", _SOFTMAX),
    Target("arcface", "faces128", _SOFTMAX),
    Target("soft_triple", "centers", (Promise(PML, 10, 1 / 20), Promise(PLAIN_TORCH))),
    Target("soft_triple", "centers_faces", (Promise(PML, 10, 1 / 20), Promise(PLAIN_TORCH))),
)


def verdicts(target: Target, records: list[Record]) -> Iterator[Record]:
    """One record for every promise and every backend of ours."""
    found = {record["variant"]: record for record in records}
    for mine in (record for record in records if record["variant"].startswith("ours")):
        for promise in target.promises:
            yield _verdict(target, mine, found[promise.baseline], promise)
        for limit, inputs, what in ((target.extra_gib, 0, "extra"), (target.all_gib, _input_bytes(target), "in all")):
            if limit is not None:
                used = None if mine["extra_bytes"] is None else mine["extra_bytes"] + inputs
                yield _head(target, mine) | {
                    "claim": f"{what} under {limit} GiB",
                    "found": mine["status"] if used is None else size(used),
                    "met": used is not None and used < limit * 2**30,
                }


def _verdict(target: Target, mine: Record, other: Record, promise: Promise) -> Record:
    bounds = [f"{promise.speed:g} times as fast"] if promise.speed else []
    bounds += [f"{promise.memory:.0%} of the memory"] if promise.memory else []
    head = _head(target, mine) | {"claim": f"{promise.baseline}: " + (", ".join(bounds) or "for comparison")}
    if "median_s" not in mine or "median_s" not in other:
        shown = f"ours {mine['status']}, {promise.baseline} {other['status']} {other['reason']}".strip()
        return head | {"found": shown, "met": None if mine["status"] == "ok" else False}
    speed = other["median_s"] / mine["median_s"]
    times = f"{seconds(mine['median_s'])} against {seconds(other['median_s'])}"
    shown, met = f"{speed:.2f} times as fast ({times})", promise.speed is None or speed >= promise.speed
    if mine["extra_bytes"] is not None and other["extra_bytes"]:
        share = mine["extra_bytes"] / other["extra_bytes"]
        met = met and (promise.memory is None or share <= promise.memory)
        shown += f", {share:.1%} of the memory ({size(mine['extra_bytes'])} against {size(other['extra_bytes'])})"
    return head | {"found": shown, "met": met if bounds else None, "speed": speed}


def _head(target: Target, mine: Record) -> Record:
    return {
        "kind": "target",
        "loss": target.loss,
        "shape": asdict(target.case.shape),
        "pattern": target.pattern,
        "variant": mine["variant"],
        "default": mine["default"],
        "dtype": target.case.dtype,
        "seed": target.case.seed,
    }


def _input_bytes(target: Target) -> int:
    shape = target.case.shape
    return 4 * shape.dim * (shape.batch + shape.proxies)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="targets whose 'loss shape' contains this")
    parser.add_argument("--record", type=Path, help="append the results to this file of JSON lines")
    parser.add_argument("--budget", type=float, default=20.0, help="seconds of timed rounds per target")
    parser.add_argument("--limit", type=float, default=240.0, help="seconds that one variant may take at most")
    options = parser.parse_args()
    plan = Plan(budget=options.budget, min_rounds=3, limit_seconds=options.limit)
    missed = 0
    with Probe(PRELOAD) as probe:
        for target in TARGETS:
            if options.only not in f"{target.loss} {target.shape}":
                continue
            names = [ours(backend) for backend in our_backends("cpu")]
            names += [promise.baseline for promise in target.promises]
            records = measure(target.case, BOTH, probe, plan, names)
            found = [verdict | provenance("cpu") for verdict in verdicts(target, records)]
            print(*describe(records), sep="\n", flush=True)
            for verdict in found:
                mark = {True: "met", False: "MISSED", None: ""}[verdict["met"]]
                print(f"    {mark:<7}{verdict['variant']}: {verdict['claim']}: {verdict['found']}", flush=True)
                missed += verdict["met"] is False
            if options.record is not None:
                write(options.record, [*records, *found])
    print(f"\n{missed} missed")


if __name__ == "__main__":
    main()
