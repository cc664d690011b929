"""Tile sizes and shares of work: a pure function of sizes, dtypes and architecture, never of a measurement.

Few choices, so that each can be compiled in a test: a problem smaller than a tile takes one all the same. Tiles that
score the same pair are multiplied by the same instructions (Hopper's want 64 rows, ROCm's 32 rows and columns), except
where registers are short: for the fused objective, and on Hopper for columns of the statistics that ask for the same
scores (float32, and float16 up to D = 256), where that these are the same is not seen yet: `tests.gpu` asks.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch

from dmlkernels.backends.gpu.splits import DEFAULT_MULTIPROCESSORS
from dmlkernels.backends.triton.tiles import Tiles, look_up

REMEMBERED = 256  # shapes of a problem, and what follows from each
LARGEST_GROUP = 32  # columns of a label: a tile holds all of them
MOST_IN_REGISTERS = 16  # columns of a label beside whole vectors
# Of one vector's numbers that are multiplied, and accumulated, at a time. Off tensor cores operands lie in registers.
_HALF_BLOCK_BYTES, _WIDE_BLOCK_BYTES, _SLICE_BYTES = 256, 128, 512


class Architecture(NamedTuple):
    """What tiles depend on. ``number`` is the compute capability times ten, or 0 for ROCm and the interpreter."""

    vendor: str  # "cuda", "hip" or "interpreter"
    number: int = 0
    multiprocessors: int = DEFAULT_MULTIPROCESSORS


class Work(NamedTuple):
    """What the tiles of a problem depend on."""

    dim: int
    operand: torch.dtype
    live_tiles: int = 1  # see Epilogue
    group: int = 1
    precision: str = "tf32"  # of products of float32, as Triton names it
    given: bool = False  # labels of columns; these three take registers
    within: bool = False
    views: int = 1
    parts: int = 0  # that vectors and slopes are split into, see kernels/parts.py

    @property
    def scales(self) -> bool:
        """Whether these are of float16 vectors, times powers of two."""
        return self.parts > 0 and self.operand == torch.float16

    @property
    def cuts(self) -> bool:
        """Whether tensor cores take only the first bits of every number: see ``load_scored``."""
        return self.precision == "tf32" and self.operand == torch.float32 and not self.parts


def next_power_of_2(n: int) -> int:
    return 1 << max(0, n - 1).bit_length()


def fits(group: int) -> bool:
    """Whether a tile holds all columns of a label."""
    return group <= LARGEST_GROUP


def norm_tiles(dim: int) -> tuple[int, int]:
    """Rows and numbers of a row at a time, for kernels that only read or add vectors."""
    block_d = min(256, next_power_of_2(dim))
    return max(1, 2048 // block_d), block_d


def copy_tiles(dim: int) -> tuple[int, int]:
    """The same for kernels that copy points one by one and may put them in order, so many at a time."""
    return 32, min(64, next_power_of_2(dim))


@lru_cache(maxsize=REMEMBERED)
def forward_tiles(work: Work, arch: Architecture, owned: int) -> Tiles:
    """Tiles of the forward kernel. A tile holds whole groups of columns."""
    tiles = _from_table(work, arch, "forward")
    if tiles is None:
        tiles = _forward_parts_fallback(work) if work.parts else _forward_fallback(work, arch)
    if owned <= 64 and tiles.M == 128:  # half as many rows, by half as many warps
        # Float32 goes through registers to tensor cores, and each thread has to take twice as much of it there.
        n = min(tiles.N, 64) if work.operand.itemsize == 4 else tiles.N
        tiles = tiles._replace(M=64, N=n, num_warps=tiles.num_warps // 2, registers=0)
    return tiles._replace(N=max(tiles.N, next_power_of_2(work.group)))


@lru_cache(maxsize=REMEMBERED)
def backward_tiles(work: Work, arch: Architecture, owns_columns: bool = False) -> Tiles:
    """Tiles of the backward kernel. A tile holds whole groups of columns, on whichever side they are."""
    tiles = _from_table(work, arch, "columns" if owns_columns else "rows")
    if work.parts:
        tiles = tiles or _parts_fallback(work, owns_columns)
    else:
        tiles = tiles or _backward_fallback(work, arch, owns_columns)
        if work.dim <= tiles.BLOCK_D:  # whole vectors are multiplied, so that is what is summed up
            tiles = tiles._replace(SLICE=tiles.BLOCK_D)
    if owns_columns and work.given and work.operand == torch.float16 and not work.parts:  # its slopes are float32
        tiles = tiles._replace(N=min(tiles.N, 32))
    group = next_power_of_2(work.group)
    return tiles._replace(M=max(tiles.M, group)) if owns_columns else tiles._replace(N=max(tiles.N, group))


def _from_table(work: Work, arch: Architecture, role: str) -> Tiles | None:
    if arch.vendor != "cuda":
        return None
    operands: tuple[str, ...] = ()
    if work.parts:
        operands = (f"float16 x {work.parts}", *(("bfloat16", "half") if work.parts == 1 else ()))
    elif work.operand.itemsize == 2:
        operands = (str(work.operand).removeprefix("torch."), "half")
    elif work.operand == torch.float32:
        operands = (work.precision,)
    found, many = None, work.given and work.live_tiles >= 3
    if many and work.dim > 128:
        return None
    if work.within and role == "rows":
        found = look_up(arch.number, operands, "points", work.live_tiles, work.dim)
    if found is None and (role == "forward" or _has_registers(work)):
        found = look_up(arch.number, operands, role, work.live_tiles, work.dim)
    if found is None:
        return None
    # A short D takes no more of a block than it needs.
    dim = max(64, next_power_of_2(work.dim))
    found = found._replace(BLOCK_D=min(found.BLOCK_D, dim), SLICE=min(found.SLICE, dim))
    # No limit where there is more to keep: given labels beside many tiles, or backward the mask of what is beyond D.
    many = many or (role != "forward" and work.dim % found.BLOCK_D != 0)
    return found._replace(registers=0) if many else found


def _has_registers(work: Work) -> bool:
    """Whether backward can take whole vectors: else registers spill in its loop."""
    simple = not (work.given or work.within or work.views > 1)
    if work.parts == 1:
        return True
    if work.operand == torch.float32:
        return simple
    if work.group > MOST_IN_REGISTERS and work.dim > 64:
        return False
    return work.dim <= 128 or (work.group <= 4 and (simple or work.dim <= 256))


def _forward_fallback(work: Work, arch: Architecture) -> Tiles:
    if arch.vendor == "interpreter":
        return Tiles(16, 16, 16, 16, 4, 1)
    size, light, block_d = work.operand.itemsize, work.live_tiles == 1, _block_d(work, arch)
    if _uses_warp_groups(work, arch) and size == 4:
        return Tiles(64, 64 if light else 32, block_d, block_d, 4, 2)
    m = 128 if light and size == 2 else 64
    n = 64 if light and size < 8 else 32
    if _is_crowded(work, arch):
        n = min(n, 128 // size)
    spills = arch.number < 90 and m == 128 and work.dim > block_d
    stages = 3 if size == 2 and arch.vendor == "cuda" and not spills else 2
    return Tiles(m, n, block_d, block_d, 8, stages)


def _backward_fallback(work: Work, arch: Architecture, owns_columns: bool) -> Tiles:
    if arch.vendor == "interpreter":
        return Tiles(16, 16, 16, 16, 4, 1)
    size, light, block_d = work.operand.itemsize, work.live_tiles == 1, _block_d(work, arch)
    slice_d = block_d
    if work.dim > block_d:
        slice_d = min(next_power_of_2(work.dim), _SLICE_BYTES // size // max(1, work.live_tiles // 2))
    m = 64 if size < 8 or arch.vendor == "hip" else 32
    n = 32 if work.live_tiles <= 3 else 16
    if arch.vendor == "hip":  # Four warps have all registers. With less than an instruction for each, Triton fails.
        return Tiles(m, max(n, 32), block_d, slice_d, 4, 1)
    if size > 2:
        n = 16
    elif light and arch.number >= 90:
        wide = work.operand == torch.float16  # its slopes are float32
        n = 32 if work.dim > block_d and (wide or work.given) else 64
    if owns_columns and size == 2 and (light or arch.number >= 90):
        # The rows of a tile. With 64 no warps score the same ones, but registers spill: on sm_100 of a long D, on sm_80
        # beside given labels of one, and of slopes in float32.
        is_long = work.dim > block_d
        if arch.number >= 100:
            spills = is_long
        else:
            spills = arch.number < 90 and (
                (work.given and is_long) or (work.dim > 64 and work.operand == torch.float16)
            )
        n = 32 if spills else max(n, 64)
    warps = 8 if m == 64 and work.dim > block_d else 4
    # Below, registers would spill.
    if owns_columns and size == 2 and work.live_tiles >= 3:
        if arch.number < 90:
            m, n, warps = 32, 32, 4
        elif arch.number >= 100 or work.live_tiles == 4:
            warps = 8
    if owns_columns and size == 4 and work.live_tiles >= 3 and arch.number < 90 and work.dim <= block_d:
        m = 32
    if size == 2 and work.live_tiles == 2 and arch.number < 90:
        if work.within and slice_d > block_d:
            n = 16
        if work.operand == torch.float16 and work.dim <= block_d:  # its slopes are float32
            m, n = 32, 32
    if warps == 8 and _uses_warp_groups(work, arch):
        # Where two groups of warps sum up 16 products, Triton 3.6 compiles wrong code: seen on an H200 for tf32x3.
        if size == 4 and work.precision == "tf32x3":
            crowded = work.live_tiles > 3 or work.group > MOST_IN_REGISTERS
            return Tiles(64, 16, 32, min(slice_d, 64 if crowded else 128), 4, 2)
        n = max(n, 32)
    return Tiles(m, n, block_d, slice_d, warps, 2)


def _forward_parts_fallback(work: Work) -> Tiles:
    """Of whole vectors, or of blocks of long ones, which would spill."""
    light, dim = work.live_tiles == 1, max(64, next_power_of_2(work.dim))
    if dim <= 128:
        return Tiles(64, 64 if light else 32, dim, dim, 4, 2)
    return Tiles(128, 128 if light else 64, 64, 64, 8, 3)


def _parts_fallback(work: Work, owns_columns: bool) -> Tiles:
    """Of whole vectors. Several parts take four warps: of eight, Triton 3.6 gives the products of a sum other layouts
    than the last of them."""
    dim = max(64, next_power_of_2(work.dim))
    if dim <= 128:
        return Tiles(64, 64 if work.live_tiles == 1 else 32, dim, dim, 4, 2)
    # Columns' tiles are turned, and take registers for the values of every row.
    n, stages = (16, 2) if owns_columns and work.group == 1 else (32, 1 if work.parts * dim > 512 else 2)
    return Tiles(64, n, dim, 256, 4, stages)


def _uses_warp_groups(work: Work, arch: Architecture) -> bool:
    """Whether products are of four warps each, which Hopper has."""
    size = work.operand.itemsize
    return arch.vendor == "cuda" and 90 <= arch.number < 100 and (size == 2 or (size == 4 and work.precision != "ieee"))


def _block_d(work: Work, arch: Architecture) -> int:
    size = work.operand.itemsize
    wide = _WIDE_BLOCK_BYTES * (2 if _uses_warp_groups(work, arch) and work.precision == "tf32" else 1)
    most = (_HALF_BLOCK_BYTES if size == 2 else wide) // size // max(1, work.live_tiles // 2)
    if (work.group > 1 and _is_crowded(work, arch)) or (size == 2 and work.group > MOST_IN_REGISTERS):
        most //= 2
    return max(32 if arch.vendor == "hip" else 16, min(most, max(64, next_power_of_2(work.dim))))


def _is_crowded(work: Work, arch: Architecture) -> bool:
    """Whether registers are shorter than on earlier devices: compilers for sm_100 take more of them for wide types."""
    return arch.number >= 100 and work.operand.itemsize > 2
