"""Tile sizes and shares of work: a pure function of sizes, dtypes and architecture, never of a measurement.

Few choices, so that each can be compiled in a test: a problem smaller than a tile takes one all the same. Tiles that
score the same pair are multiplied by the same instructions (Hopper's want 64 rows, ROCm's 32 rows and columns), except
where registers for the fused objective are short.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from dmlkernels.backends.gpu.splits import DEFAULT_MULTIPROCESSORS

LARGEST_GROUP = 32  # columns of a label: a tile holds all of them
MULTIPROCESSORS = {80: 108, 90: 132, 100: 148}
# Of one vector's numbers that are multiplied, and accumulated, at a time. Off tensor cores operands lie in registers.
_HALF_BLOCK_BYTES, _WIDE_BLOCK_BYTES, _SLICE_BYTES = 256, 128, 512


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


def next_power_of_2(n: int) -> int:
    return 1 << max(0, n - 1).bit_length()


def fits(group: int) -> bool:
    """Whether a tile holds all columns of a label."""
    return group <= LARGEST_GROUP


def norm_tiles(dim: int) -> tuple[int, int]:
    """Rows and numbers of a row at a time, for kernels that only read or add vectors."""
    block_d = min(256, next_power_of_2(dim))
    return max(1, 2048 // block_d), block_d


def forward_tiles(work: Work, arch: Architecture, owned: int) -> Tiles:
    """Tiles of the forward kernel."""
    if arch.vendor == "interpreter":
        return Tiles(16, max(16, next_power_of_2(work.group)), 16, 16, 4, 1)
    size, light, block_d = work.operand.itemsize, work.live_tiles == 1, _block_d(work, arch)
    m = 128 if light and size == 2 and owned > 64 else 64
    n = 64 if light and size < 8 else 32
    if _is_crowded(work, arch):
        n = min(n, 128 // size)
    spills = arch.number < 90 and m == 128 and work.dim > block_d
    stages = 3 if size == 2 and arch.vendor == "cuda" and not spills else 2
    return Tiles(m, max(n, next_power_of_2(work.group)), block_d, block_d, _warps(m), stages)


def backward_tiles(work: Work, arch: Architecture, owns_columns: bool = False) -> Tiles:
    """Tiles of the backward kernel. A tile holds whole groups of columns, on whichever side they are."""
    group = next_power_of_2(work.group)
    own_group, other_group = (group, 1) if owns_columns else (1, group)
    if arch.vendor == "interpreter":
        return Tiles(max(16, own_group), max(16, other_group), 16, 16, 4, 1)
    size, light, block_d = work.operand.itemsize, work.live_tiles == 1, _block_d(work, arch)
    slice_d = block_d
    if work.dim > block_d:
        slice_d = min(next_power_of_2(work.dim), _SLICE_BYTES // size // max(1, work.live_tiles // 2))
    m = max(64 if size < 8 or arch.vendor == "hip" else 32, own_group)
    n = 32 if work.live_tiles <= 2 else 16
    if arch.vendor == "hip":  # Four warps have all registers. With less than an instruction for each, Triton fails.
        return Tiles(m, max(n, other_group), block_d, slice_d, 4, 1)
    if size > 2:
        n = 16
    elif light and not owns_columns and arch.number >= 90:
        wide = work.operand == torch.float16 and work.dim > block_d  # slopes of float16 are twice as wide
        n = 32 if wide else 64
    return Tiles(m, max(n, other_group), block_d, slice_d, _warps(m), 2)


def _block_d(work: Work, arch: Architecture) -> int:
    size = work.operand.itemsize
    most = (_HALF_BLOCK_BYTES if size == 2 else _WIDE_BLOCK_BYTES) // size // max(1, work.live_tiles // 2)
    if work.group > 1 and _is_crowded(work, arch):
        most //= 2
    return max(32 if arch.vendor == "hip" else 16, min(most, max(64, next_power_of_2(work.dim))))


def _is_crowded(work: Work, arch: Architecture) -> bool:
    """Whether registers are shorter than on earlier devices: compilers for sm_100 take more of them for wide types."""
    return arch.number >= 100 and work.operand.itemsize > 2


def _warps(m: int) -> int:
    return 8 if m >= 64 else 4
