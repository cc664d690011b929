"""Tile sizes and shares of work: a pure function of sizes, dtypes and architecture, never of a measurement."""

from __future__ import annotations

from typing import NamedTuple

import torch

from dmlkernels.backends.gpu.shares import DEFAULT_MULTIPROCESSORS

MULTIPROCESSORS = {80: 108, 90: 132, 100: 148}
_BLOCK_BYTES, _SLICE_BYTES = 256, 512  # of one vector's numbers that are multiplied, and accumulated, at a time


class Architecture(NamedTuple):
    """What tiles depend on. ``number`` is the compute capability times ten, or 0 for ROCm and the interpreter."""

    vendor: str  # "cuda", "hip" or "interpreter"
    number: int = 0

    @property
    def multiprocessors(self) -> int:
        return 304 if self.vendor == "hip" else MULTIPROCESSORS.get(self.number, DEFAULT_MULTIPROCESSORS)


class Tiles(NamedTuple):
    """One kernel's configuration: M owned vectors against N streamed ones, D cut into BLOCK_D, the gradient's D into
    SLICE (of no use forward)."""

    M: int
    N: int
    BLOCK_D: int
    SLICE: int
    num_warps: int
    num_stages: int


class Work(NamedTuple):
    """What the tiles of a problem depend on."""

    dim: int
    operand: torch.dtype
    live_tiles: int = 1  # see Epilogue
    group: int = 1
    same_scores: bool = False

    @property
    def least_owned(self) -> int:
        """Vectors in an owner's block at least: fewer than 64 are multiplied by other instructions than more are."""
        return 64 if self.same_scores else 16


def next_power_of_2(n: int) -> int:
    return 1 << max(0, n - 1).bit_length()


def norm_tiles(dim: int) -> tuple[int, int]:
    """Rows and numbers of a row at a time, for kernels that only read or add vectors."""
    block_d = min(256, next_power_of_2(dim))
    return max(1, 2048 // block_d), block_d


def forward_tiles(work: Work, arch: Architecture, owned: int) -> Tiles:
    """Tiles of the forward kernel."""
    if arch.vendor == "interpreter":
        return Tiles(16, max(16, next_power_of_2(work.group)), 16, 16, 4, 1)
    size, light = work.operand.itemsize, work.live_tiles == 1
    block_d = min(max(16, next_power_of_2(work.dim)), _BLOCK_BYTES // size)
    m = min(128 if light and size == 2 else 64, max(work.least_owned, next_power_of_2(owned)))
    n = max(64 if light and size < 8 else 32, next_power_of_2(work.group))
    stages = 3 if size == 2 and arch.vendor == "cuda" else 2
    return Tiles(m, n, block_d, block_d, _warps(m, n), stages)


def backward_tiles(work: Work, arch: Architecture, owned: int, owns_columns: bool = False) -> Tiles:
    """Tiles of the backward kernel. A tile holds whole groups of columns, on whichever side they are."""
    group = next_power_of_2(work.group)
    own_group, other_group = (group, 1) if owns_columns else (1, group)
    if arch.vendor == "interpreter":
        return Tiles(max(16, own_group), max(16, other_group), 16, 16, 4, 1)
    size, light = work.operand.itemsize, work.live_tiles == 1
    block_d = min(max(16, next_power_of_2(work.dim)), _BLOCK_BYTES // size)
    slice_d = block_d
    if work.dim > block_d:
        slice_d = min(next_power_of_2(work.dim), _SLICE_BYTES // size // max(1, work.live_tiles // 2))
    m = max(min(64 if size < 8 else 32, next_power_of_2(owned)), work.least_owned, own_group)
    n = max(64 if light and size == 2 and not owns_columns else 32, other_group)
    if arch.vendor == "hip":  # its loads in flight take registers, of which there are fewer
        n = max(32, other_group)
        return Tiles(m, n, block_d, slice_d, _warps(m, n), 1)
    return Tiles(m, n, block_d, slice_d, _warps(m, n), 2)


def _warps(m: int, n: int) -> int:
    return 8 if m * n >= 2048 else 4
