"""Tile sizes and shares of work: a pure function of sizes, dtypes and architecture, never of a measurement."""

from __future__ import annotations

from typing import NamedTuple

import torch

MULTIPROCESSORS = {80: 108, 90: 132, 100: 148}
DEFAULT_MULTIPROCESSORS = 132
MEMORY_FLOOR = 2**22  # numbers that partial results may take however small the problem


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


def next_power_of_2(n: int) -> int:
    return 1 << max(0, n - 1).bit_length()


def norm_tiles(dim: int) -> tuple[int, int]:
    """Rows and numbers of a row at a time, for kernels that only read or add vectors."""
    block_d = min(256, next_power_of_2(dim))
    return max(1, 2048 // block_d), block_d


def forward_tiles(dim: int, operand: torch.dtype, arch: Architecture, owned: int, group: int = 1) -> Tiles:
    """Tiles of the forward kernel."""
    if arch.vendor == "interpreter":
        return Tiles(16, max(16, next_power_of_2(group)), 16, 16, 4, 1)
    return _tiles(dim, operand, arch, owned, group, backward=False)


def backward_tiles(
    dim: int, operand: torch.dtype, arch: Architecture, owned: int, group: int = 1, owns_columns: bool = False
) -> Tiles:
    """Tiles of the backward kernel. A tile holds whole groups of columns, on whichever side they are."""
    own_group, other_group = (group, 1) if owns_columns else (1, group)
    if arch.vendor == "interpreter":
        return Tiles(max(16, next_power_of_2(own_group)), max(16, next_power_of_2(other_group)), 16, 16, 4, 1)
    tiles = _tiles(dim, operand, arch, owned * own_group, other_group, backward=True)
    return tiles._replace(M=max(tiles.M, next_power_of_2(own_group)))


def _tiles(dim: int, operand: torch.dtype, arch: Architecture, owned: int, group: int, backward: bool) -> Tiles:
    size = operand.itemsize
    block_d = min(max(16, next_power_of_2(dim)), {2: 128, 4: 64, 8: 32}[size])
    m = min(128 if size == 2 else 64, max(16, next_power_of_2(owned)))
    n = max({2: 64, 4: 64, 8: 32}[size], next_power_of_2(group))
    if backward:
        slice_d = block_d if dim <= block_d else min(next_power_of_2(dim), {2: 256, 4: 128, 8: 64}[size])
        return Tiles(min(m, 64), n, block_d, slice_d, 8 if size < 8 else 4, 2)
    return Tiles(m, n, block_d, block_d, 8 if m >= 64 else 4, 3 if size == 2 else 2)


def shares(blocks: int, streamed: int, tile: int, arch: Architecture, memory: int, limit: int) -> int:
    """How many programs split the streamed side of one block, so that few blocks fill the chip.

    Args:
        blocks: programs without a split.
        streamed: vectors to stream, in tiles of ``tile``; a share is at least four tiles.
        memory: numbers that each share writes.
        limit: numbers that all shares together may write.
    """
    wanted = 2 * arch.multiprocessors // max(1, blocks)
    most = -(-streamed // (4 * tile))
    return max(1, min(wanted, most, limit // max(1, memory)))
