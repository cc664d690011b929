"""What rows of the table are looked for, and the launches that they are for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from itertools import product
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor

from benchmarks.harness.precision import matmul_precision
from dmlkernels.backends.pairs import Forward, Pairs
from dmlkernels.backends.triton import launch
from dmlkernels.backends.triton.plan import Architecture, next_power_of_2
from dmlkernels.backends.triton.saved import FLAG_ROWS
from dmlkernels.backends.triton.tiles import TABLE, Key, Tiles
from tests.triton.common import forget_schedules
from tests.triton.launches import make_pairs
from tests.triton.predict.__main__ import POINTS, SHAPE, TYPES

KINDS = {1: "logsumexp", 2: "moments", 3: "field", 4: "fused"}  # for each weight of the table
OPERANDS = {"bf16": "bfloat16", "fp16": "float16", "tf32": "tf32", "tf32x3": "tf32x3"}


_ORDER = (
    ("bf16", 128), ("bf16", 512), ("tf32", 128), ("tf32", 512), ("bf16", 256), ("fp16", 128), ("fp16", 512),
    ("tf32x3", 128), ("tf32", 256), ("tf32x3", 256),
)  # fmt: skip


class Place(NamedTuple):
    """What a row is looked for: weight of the epilogue, type, D, and kernel."""

    weight: int
    type_: str
    dim: int
    role: str  # "forward", "rows" or "columns"

    @property
    def of_points(self) -> bool:
        """Whether it is looked for with rows that meet each other, and scores that are exact."""
        return self.weight >= 3

    @property
    def parts(self) -> int:
        """As in Work."""
        return 0 if self.role == "forward" or self.of_points else {"tf32": 1, "tf32x3": 2}.get(self.type_, 0)

    @property
    def kernel(self) -> str:
        """Name of what is timed."""
        return "forward_kernel" if self.role == "forward" else "backward_kernel"

    def key(self, number: int) -> Key:
        operand = "tf32x3" if self.of_points and self.type_ == "tf32" else OPERANDS[self.type_]
        if self.parts:
            operand = f"float16 x {self.parts}"
        role = "points" if self.of_points and self.role == "rows" else self.role
        return Key(number, operand, role, self.weight, self.dim)

    def pairs(self) -> Pairs:
        return make_pairs(KINDS[self.weight], TYPES[self.type_][0], self.dim, *(POINTS if self.of_points else SHAPE))

    def flop(self, pairs: Pairs) -> float:
        """That is needed once."""
        columns = pairs.num_columns + (pairs.num_rows if pairs.within else 0)
        return (2.0 if self.role == "forward" else 4.0) * pairs.num_rows * columns * self.dim


def places() -> Iterator[Place]:
    """The most telling first, since time may run out."""
    for type_, dim in _ORDER:
        for weight, role in product(KINDS, ("forward", "rows", "columns")):
            place = Place(weight, type_, dim, role)
            if not (place.of_points and role == "columns"):  # a backward kernel takes both ends of a pair of points
                yield place


def candidates(place: Place) -> list[Tiles]:
    """All that are worth compiling."""
    whole = next_power_of_2(place.dim)
    blocks = sorted({whole, min(whole, 128), 64})
    if place.role == "forward":
        return [
            Tiles(m, n, block_d, block_d, warps, stages)
            for m, n, block_d, warps, stages in product((64, 128), (32, 64, 128), blocks, (4, 8), (2, 3))
        ]
    if place.parts > 1:
        slices = {min(whole, 256), min(whole, 128), min(whole, 64)}
        return [
            Tiles(FLAG_ROWS, n, whole, slice_d, 4, stages)
            for n, slice_d, stages in product((16, 32, 64), slices, (1, 2, 3))
        ]
    return [
        Tiles(FLAG_ROWS, n, block_d, slice_d, warps, stages)
        for n, block_d, slice_d, warps, stages in product(
            (16, 32, 64), blocks, {whole, min(whole, 256), min(whole, 128)}, (4, 8), (1, 2, 3)
        )
        if slice_d >= block_d and (n > 16 or warps == 4)  # see plan.py: 16 products of two groups of warps are wrong
    ]


def run(place: Place, pairs: Pairs, forward: Forward, gradient: Tensor, arch: Architecture) -> Tensor:
    """Launch what is looked at."""
    with matmul_precision(TYPES[place.type_][1]):
        if place.role == "forward":
            return launch.forward(pairs, arch).statistics
        rows = place.role == "rows"
        found = launch.backward(pairs, forward, gradient, rows, not rows, arch)
        result = found.rows if rows else found.columns
        assert result is not None
        return result


@contextmanager
def in_table(place: Place, tiles: Tiles | None, arch: Architecture) -> Iterator[None]:
    """Have this row in the table within a block, or leave it as it is."""
    with mock.patch.dict(TABLE, {} if tiles is None else {place.key(arch.number): tiles}):
        forget_schedules()
        yield
    forget_schedules()


def filled(pairs: Pairs, device: str) -> Pairs:
    """The same with random vectors, weights and labels, on a device."""
    classes = max(1, pairs.num_columns // pairs.statistic.group if not pairs.within else pairs.num_rows // 15)
    found: dict[str, Any] = {}
    for one in fields(pairs):
        value = getattr(pairs, one.name)
        if isinstance(value, Tensor) and value.is_floating_point():
            found[one.name] = torch.randn(value.shape, device=device).to(value.dtype)
        elif isinstance(value, Tensor):
            found[one.name] = torch.randint(classes, value.shape, device=device)
    return replace(pairs, **found)
