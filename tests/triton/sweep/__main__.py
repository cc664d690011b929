"""The command."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from benchmarks.harness.clocks import KernelClock
from benchmarks.harness.records import Record, provenance, write
from benchmarks.roofline import measure_device
from dmlkernels.backends.triton.run import architecture
from tests.triton import sweep
from tests.triton.compiling import TARGETS
from tests.triton.predict.machine import MACHINES
from tests.triton.sweep.places import Place, places
from tests.triton.sweep.screen import Predicted, best_predicted
from tests.triton.sweep.timing import Timings, measure, proposed

RATES = {"bf16": "bfloat16", "fp16": "bfloat16", "tf32": "tf32"}  # the matmul to compare with


def main() -> None:
    parser = argparse.ArgumentParser(description=sweep.__doc__)
    parser.add_argument("--out", type=Path, help="file to append records to, as JSON lines")
    parser.add_argument("--minutes", type=float, default=8.0, help="start with no further row after this")
    parser.add_argument("--keep", type=int, default=5, help="candidates to time for each row")
    parser.add_argument(
        "--predicted", metavar="TARGET", choices=MACHINES, help="predictions for a GPU that is not there"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    if options.predicted is None and not torch.cuda.is_available():
        raise SystemExit(f"no GPU that torch can use; --predicted {' or '.join(MACHINES)} needs none")
    arch = TARGETS[options.predicted][1] if options.predicted else architecture(torch.device("cuda"))
    target = f"sm_{arch.number}"
    if target not in MACHINES:
        raise SystemExit(f"{target}: no model of it, expected one of {', '.join(MACHINES)}")
    device = "cpu" if options.predicted else "cuda"
    rates = {} if device == "cpu" else measure_device()
    deadline = time.monotonic() + 60 * options.minutes
    with ProcessPoolExecutor(options.jobs, mp_context=torch.multiprocessing.get_context("spawn")) as pool:
        for place in places():
            if time.monotonic() > deadline:
                _show(f"out of time before {place}")
                return
            predicted = best_predicted(place, target, options.keep, pool.map)
            timings = {} if device == "cpu" else measure(place, predicted, arch, KernelClock(place.kernel))
            records = _records(place, predicted, timings, rates)
            _show(str(place), *map(_line, records))
            row = proposed(place, arch.number, timings) if timings else None
            if row is not None:
                _show("proposed:", f"    {row}")
            if options.out is not None:
                write(options.out, [one | {"proposed": row} | provenance(device) for one in records])


def _records(place: Place, predicted: Predicted, timings: Timings, rates: Mapping[str, float]) -> list[Record]:
    flop, found = place.flop(place.pairs()), []
    for tiles, made in predicted.items():
        record: Record = {"kind": "tiles", **place._asdict(), "tiles": "ships" if tiles is None else tiles}
        record["predicted_share"] = None if made is None else made.share
        if tiles in timings:
            median = timings[tiles].median
            record |= {"median_s": median, "ratio": timings[None].median / median}
            record["measured_share"] = flop / median / rates[f"{RATES[place.type_]}_matmul_flops_per_s"]
        found.append(record)
    return found


def _line(record: Record) -> str:
    shares = ", ".join(
        f"{name} {record[name]:.0%}" for name in ("predicted_share", "measured_share") if record.get(name)
    )
    faster = f", {record['ratio']:.2f} times as fast as what ships" if "ratio" in record else ""
    tiles = record["tiles"]
    return f"  {tuple(tiles) if isinstance(tiles, tuple) else tiles}: {shares or 'does not fit'}{faster}"


def _show(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
