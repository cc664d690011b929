"""Tiles, as data: what was found good for an architecture, an operand type, a D and a kind of epilogue.

``python -m tests.triton.predict`` says what a row should reach; none was measured on a device. What no row is for gets
what ``plan`` computes.
"""

from __future__ import annotations

from typing import NamedTuple


class Tiles(NamedTuple):
    """One kernel's configuration: M owned vectors against N streamed ones, D cut into BLOCK_D, the gradient's D into
    SLICE (of no use forward)."""

    M: int
    N: int
    BLOCK_D: int
    SLICE: int
    num_warps: int
    num_stages: int
    registers: int = 0  # at most so many a thread, so that several blocks share a multiprocessor; 0: as it comes

    def options(self) -> dict[str, int]:
        """What Triton is told beside the sizes."""
        limit = {"maxnreg": self.registers} if self.registers else {}
        return {"num_warps": self.num_warps, "num_stages": self.num_stages} | limit


class Key(NamedTuple):
    """What a row is for. D is at most ``dim``, and more than that of the row before."""

    architecture: int  # as Architecture.number
    operand: str  # "half", or one of "bfloat16" and "float16", or float32's precision as Triton names it
    role: str  # "forward", "rows" or "columns"
    weight: int  # live_tiles of the epilogue
    dim: int


TABLE: dict[Key, Tiles] = {
    Key(90, "half", "forward", 1, 128): Tiles(128, 64, 128, 128, 8, 3, 128),
    Key(90, "half", "forward", 2, 128): Tiles(64, 64, 128, 128, 4, 2),
    Key(90, "half", "forward", 3, 128): Tiles(128, 64, 128, 128, 8, 3, 128),
    Key(90, "half", "rows", 1, 128): Tiles(64, 64, 128, 128, 4, 2),
    Key(90, "half", "rows", 2, 128): Tiles(64, 32, 128, 128, 4, 2),
    Key(90, "bfloat16", "rows", 3, 128): Tiles(64, 32, 128, 128, 4, 2, 168),
    Key(90, "float16", "rows", 3, 128): Tiles(64, 16, 128, 128, 4, 2),
    Key(90, "float16", "columns", 3, 128): Tiles(64, 32, 128, 128, 4, 2),
    Key(90, "half", "columns", 1, 128): Tiles(64, 64, 128, 128, 4, 2),
    Key(90, "half", "columns", 2, 128): Tiles(64, 64, 128, 128, 4, 2),
    Key(90, "float16", "columns", 2, 128): Tiles(64, 32, 128, 128, 4, 2),  # circle loss spills with more
    Key(90, "half", "forward", 1, 512): Tiles(128, 32, 512, 512, 8, 2),
    Key(90, "half", "forward", 2, 512): Tiles(128, 32, 512, 512, 8, 2),
    # float16's slopes are float32 and take registers.
    Key(90, "bfloat16", "rows", 1, 256): Tiles(64, 64, 256, 256, 8, 2),
    Key(90, "float16", "rows", 1, 256): Tiles(64, 32, 256, 256, 8, 2),
    Key(90, "bfloat16", "columns", 1, 256): Tiles(64, 64, 256, 256, 8, 2),
    Key(90, "float16", "columns", 1, 256): Tiles(64, 32, 256, 256, 8, 2),
    # These put up to 320 bytes a thread aside before their loops, and take them up again behind.
    Key(90, "bfloat16", "rows", 1, 512): Tiles(64, 64, 512, 512, 8, 2),
    Key(90, "bfloat16", "rows", 2, 512): Tiles(64, 64, 512, 512, 8, 2),
    Key(90, "bfloat16", "columns", 1, 512): Tiles(64, 64, 512, 512, 8, 2),
    Key(90, "bfloat16", "columns", 2, 512): Tiles(64, 64, 512, 512, 8, 2),
    Key(90, "tf32", "forward", 1, 128): Tiles(64, 32, 128, 128, 4, 2),
    Key(90, "tf32", "rows", 1, 128): Tiles(64, 64, 128, 128, 8, 1),
    Key(90, "tf32", "columns", 1, 128): Tiles(64, 32, 128, 128, 4, 2),
}


def look_up(architecture: int, operands: tuple[str, ...], role: str, weight: int, dim: int) -> Tiles | None:
    """The row for a D, if there is one for any of the names of the operand; the first of them goes before."""
    fitting = [
        key
        for key in TABLE
        if key.operand in operands
        and dim <= key.dim
        and (key.architecture, key.role, key.weight) == (architecture, role, weight)
    ]
    return TABLE[min(fitting, key=lambda key: (key.dim, operands.index(key.operand)))] if fitting else None
