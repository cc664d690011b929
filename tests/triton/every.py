"""``python -m tests.triton.every``: compile every configuration that ships, and check each against the limits.

Statistics x kernels x types and matmul precisions x tile classes of ``plan.py`` x targets. Options: ``--sample`` for
those of ``tiled_sample`` only, ``--jobs 2`` for two processes, ``--out found.jsonl`` to keep what the compilers made,
and names of targets to do those only.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.harness.precision import matmul_precision
from dmlkernels.backends.pairs import Shape
from dmlkernels.backends.triton.plan import backward_tiles, forward_tiles
from dmlkernels.backends.triton.schedule import joint_schedule
from dmlkernels.backends.triton.tiles import Tiles
from dmlkernels.backends.triton.work import backward_work, forward_work
from tests.triton.compiling import TARGETS, Compiled
from tests.triton.launches import KINDS, compile_launches, make_pairs
from tests.triton.limits import complaints


class Operands(NamedTuple):
    """Types of rows and columns, the matmul precisions that matter to them, and a D of each class of tiles."""

    rows: torch.dtype
    columns: torch.dtype
    precisions: tuple[str, ...]
    dims: tuple[int, ...]


HIGHEST, BOTH = ("highest",), ("highest", "high")
# One block; several, in one slice; several slices; one that blocks do not divide.
WIDE, NARROW, NARROWEST = (64, 128, 208, 512), (32, 128, 208, 512), (16, 64, 208)
OPERANDS = {
    "bfloat16": Operands(torch.bfloat16, torch.bfloat16, HIGHEST, WIDE),
    "float16": Operands(torch.float16, torch.float16, BOTH, WIDE),
    "float32": Operands(torch.float32, torch.float32, BOTH, NARROW),
    "float64": Operands(torch.float64, torch.float64, HIGHEST, NARROWEST),
    "bfloat16 x float32": Operands(torch.bfloat16, torch.float32, BOTH, NARROW),
}
# Few rows: the smaller forward tile, shares of the columns, merged, combine. Many: the larger, and shares of the rows.
# Few of both: gradients in one launch.
SIZES, POINTS = ((64, 20_480), (20_480, 64), (64, 64)), ((120, 80), (20_480, 20_480))


class Configuration(NamedTuple):
    """What one call of forward and backward compiles."""

    kind: str
    target: str
    operands: str
    precision: str
    dim: int
    rows: int
    columns: int

    def compile(self) -> list[Compiled]:
        operands = OPERANDS[self.operands]
        with matmul_precision(self.precision):
            return compile_launches(
                self.kind, self.target, operands.rows, self.dim, self.rows, self.columns, operands.columns
            )

    @property
    def vendor(self) -> str:
        return TARGETS[self.target][1].vendor

    @property
    def shape(self) -> Shape:
        operands = OPERANDS[self.operands]
        return make_pairs(self.kind, operands.rows, self.dim, self.rows, self.columns, operands.columns).shape

    @property
    def parts(self) -> int:
        """As in Work."""
        return backward_work(self.shape, TARGETS[self.target][1], self.precision).parts

    @property
    def is_joint(self) -> bool:
        """Whether one launch finds both gradients."""
        return joint_schedule(self.shape, TARGETS[self.target][1], self.precision) is not None

    def tiles(self) -> set[Tiles]:
        """What its kernels were launched with, forward's marked by a SLICE of 0."""
        shape, arch = self.shape, TARGETS[self.target][1]
        forward, backward = (work(shape, arch, self.precision) for work in (forward_work, backward_work))
        scoring = forward_tiles(forward, arch, shape.num_rows)._replace(SLICE=0)
        return {scoring, backward_tiles(backward, arch, False), backward_tiles(backward, arch, True)}


def small_sample() -> list[Configuration]:
    """Every target; every statistic, for NVIDIA; every type and precision, for NVIDIA and for AMD. Of short vectors,
    which take the compiler half the time."""

    def serves(one: Configuration) -> set[Any]:
        kinds = {(one.kind, one.is_joint)} if one.vendor == "cuda" else set()
        return {(one.target, one.is_joint), *kinds, (one.vendor, one.operands, one.precision)}

    return _cover(serves, longest=128)


def tiled_sample() -> list[Configuration]:
    """Every statistic, type and precision on every target; every statistic in every precision and all tiles of NVIDIA
    and of AMD."""

    def serves(one: Configuration) -> set[tuple[Any, ...]]:
        tiles = {(one.vendor, *tiles) for tiles in one.tiles()}
        kinds = {(one.target, one.kind, one.is_joint), (one.vendor, one.kind, one.precision)}
        return tiles | kinds | {(one.target, one.operands, one.precision, one.is_joint)}

    return _cover(serves)


def _cover(serves: Callable[[Configuration], set[Any]], longest: int = 512) -> list[Configuration]:
    """Few configurations that together serve all that any serves, on targets and D that take turns."""
    left = {one: serves(one) for one in configurations(list(TARGETS)) if one.dim <= longest}
    chosen: list[Configuration] = []
    used = Counter[Any]()
    while True:
        best = max(left, key=lambda one: (len(left[one]), -used[one.target] - used[one.dim]))
        served = left[best]
        if not served:
            return chosen
        chosen.append(best)
        used.update((best.target, best.dim))
        left = {one: some - served for one, some in left.items()}


def configurations(targets: list[str]) -> Iterator[Configuration]:
    for target, kind, (name, operands) in product(targets, KINDS, OPERANDS.items()):
        within = kind in ("moments of points", "field", "fused")
        if within and kind != "fused" and operands.rows != operands.columns:
            continue
        for precision, dim, size in product(operands.precisions, operands.dims, POINTS if within else SIZES):
            yield Configuration(kind, target, name, precision, dim, *size)


def check(configuration: Configuration) -> tuple[Configuration, list[Compiled], list[str]]:
    """What was compiled, and what is wrong with it."""
    try:
        found = configuration.compile()
    except Exception as error:
        return configuration, [], [f"does not compile: {type(error).__name__}: {error}"]
    return configuration, found, [text for one in found for text in complaints(configuration, one)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", default=list(TARGETS))
    parser.add_argument("--sample", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    asked = tiled_sample() if options.sample else configurations(list(TARGETS))
    asked = [one for one in asked if one.target in options.targets]
    kernels, failures = 0, 0
    with ProcessPoolExecutor(options.jobs) as pool:
        for configuration, found, wrong in pool.map(check, asked):
            kernels, failures = kernels + len(found), failures + len(wrong)
            for text in wrong:
                sys.stdout.write(f"{', '.join(map(str, configuration))}: {text}\n")
                sys.stdout.flush()
            if options.out:
                with options.out.open("a") as out:
                    out.writelines(json.dumps([*configuration, asdict(one)]) + "\n" for one in found)
    sys.stdout.write(f"{len(asked)} configurations, {kernels} kernels, {failures} complaints\n")
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())
