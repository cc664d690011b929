"""``python -m tests.triton.predict``: predictions for the launches that ship, or with other tiles."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from unittest import mock

import torch

from benchmarks.harness.precision import matmul_precision
from dmlkernels.backends.triton import launch
from dmlkernels.backends.triton.tiles import Tiles
from tests.triton.compiling import TARGETS, launched
from tests.triton.launches import KINDS, launch_both, make_pairs
from tests.triton.predict.kernel import Prediction, predict
from tests.triton.predict.machine import MACHINES

TYPES = {
    "bf16": (torch.bfloat16, "highest"),
    "fp16": (torch.float16, "high"),
    "tf32": (torch.float32, "high"),
    "tf32x3": (torch.float32, "highest"),
}
SHAPE, POINTS = (1024, 100_000), (100, 22_636)  # rows and columns; joined into points
_ROLES = {0: "rows", 1: "columns", 2: "both"}
HEADER = "| kernel | tile | regs | blocks | slots | masked | share | bound | cycles a tile |\n" + "| --- " * 9 + "|"


def predictions(kind: str, type_: str, dim: int, target: str) -> Iterator[Prediction]:
    """Of forward and of each backward kernel."""
    dtype, precision = TYPES[type_]
    pairs = make_pairs(kind, dtype, dim, *(POINTS if kind in ("field", "fused", "moments of points") else SHAPE))
    arch = TARGETS[target][1]
    with matmul_precision(precision), launched(target) as found:
        launch_both(pairs, arch)
    for name, kernel, options, grid in found:
        if name in ("forward_kernel", "backward_kernel"):
            side = _ROLES.get(getattr(options.get("SIDE"), "value", options.get("SIDE")), "")
            yield predict(kernel, options, grid, target, f"{name.removesuffix('_kernel')} {side}".strip())


def row(name: str, one: Prediction) -> str:
    units = ", ".join(f"{unit} {time}" for unit, time in one.units.items())
    numbers = f"{one.registers} | {one.blocks} | {one.slots:.1f} | {one.masked_slots:.1f} | {one.share:.0%}"
    return f"| {name} {one.role} | {one.tile} | {numbers} | {one.bound} | {units} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="*", default=["logsumexp"], choices=KINDS)
    parser.add_argument("--dims", nargs="*", type=int, default=[128, 512])
    parser.add_argument("--types", nargs="*", default=["bf16"], choices=TYPES)
    parser.add_argument("--target", default="sm_90", choices=MACHINES)
    parser.add_argument("--forward", help="tiles instead of the plan's: M,N,BLOCK_D,SLICE,warps,stages")
    parser.add_argument("--backward")
    options = parser.parse_args()
    for name in ("forward", "backward"):
        given = getattr(options, name)
        if given:
            tiles = Tiles(*map(int, given.split(",")))
            mock.patch.object(launch, f"{name}_tiles", lambda *args, tiles=tiles: tiles).start()
    sys.stdout.write(HEADER + "\n")
    for type_ in options.types:
        for dim in options.dims:
            for kind in options.kinds:
                for one in predictions(kind, type_, dim, options.target):
                    sys.stdout.write(row(f"{kind} {type_} {dim}", one) + "\n")
                    sys.stdout.flush()


if __name__ == "__main__":
    main()
