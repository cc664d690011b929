"""Our two CPU engines and the dense reference, forward and backward: ``python -m benchmarks.engines``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from unittest import mock

from benchmarks.harness.memory import Probe
from benchmarks.harness.records import Record, write
from benchmarks.harness.steps import BOTH
from benchmarks.measure import PRELOAD, Plan, measure
from benchmarks.problems.inputs import Case
from benchmarks.problems.shapes import SHAPES
from benchmarks.problems.variants import REFERENCE, our_backends, ours
from benchmarks.tables import describe
from dmlkernels.backends.blocked import closed_form

_SHAPES = ("cub", "sop", "faces128")
_TOO_LONG = "field_sop"  # for the reference, which takes a minute a step; benchmarks.targets has it
CASES = (
    *(
        Case(loss, SHAPES[shape], pattern)
        for shape in _SHAPES
        for loss, pattern in (
            ("pd", "random"),
            ("normalized_softmax", "random"),
            ("proxy_anchor", "random"),
            ("symmetric_kl", "clustered"),
        )
    ),
    *(
        Case("field", SHAPES[shape], pattern)
        for shape in ("field1600", "field_sop")
        for pattern in ("random", "collapsed")
    ),
)


def run(probe: Probe, plan: Plan, only: str = "") -> Iterator[list[Record]]:
    """Measure each case, PD-Loss also with tiles where the closed form is cheaper."""
    for case in CASES:
        if only not in f"{case.loss} {case.shape.name}":
            continue
        for tiles in (False, True) if case.loss == "pd" else (False,):
            names = [ours(backend) for backend in our_backends("cpu")]
            names += [REFERENCE] if not tiles and case.shape.name != _TOO_LONG else []
            with _tiles() if tiles else nullcontext():
                # The probe's process knows nothing of the patch.
                memory = () if tiles else plan.memory_modes
                records = measure(case, BOTH, probe, replace(plan, memory_modes=memory), names)
            yield [record | {"kind": "engine", "tiles": tiles} for record in records]


def _tiles() -> AbstractContextManager[object]:
    return mock.patch.object(closed_form, "is_cheaper", return_value=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="cases whose 'loss shape' contains this")
    parser.add_argument("--record", type=Path, help="append the results to this file of JSON lines")
    parser.add_argument("--budget", type=float, default=5.0, help="seconds of timed rounds per case")
    options = parser.parse_args()
    with Probe(PRELOAD) as probe:
        for records in run(probe, Plan(budget=options.budget, min_rounds=3), options.only):
            print("\ntiles only" if records[0]["tiles"] else "", *describe(records), sep="\n", flush=True)
            if options.record is not None:
                write(options.record, records)


if __name__ == "__main__":
    main()
