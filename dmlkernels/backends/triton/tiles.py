"""Tiles, as data: what was found good for an architecture, an operand type, a D and a kind of epilogue.

Most of sm_90's were chosen by timing candidates on an H200 (``python -m tests.triton.sweep`` does that), the others by
what ``python -m tests.triton.predict`` says of them. What no row is for gets what ``plan`` computes.
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
    # "half", or one of "bfloat16" and "float16"; or float32's precision as Triton names it, or parts: "float16 x 2".
    operand: str
    role: str  # "forward", "rows" or "columns"; "points" are rows that meet each other
    weight: int  # live_tiles of the epilogue
    dim: int


TABLE: dict[Key, Tiles] = {
    Key(90, "half", "forward", 1, 128): Tiles(128, 64, 128, 128, 8, 3, 128),
    Key(90, "half", "forward", 2, 128): Tiles(64, 64, 128, 128, 4, 2),
    Key(90, "half", "forward", 3, 128): Tiles(128, 64, 128, 128, 8, 3, 128),
    Key(90, "half", "forward", 3, 512): Tiles(128, 128, 64, 64, 8, 3),
    Key(90, "half", "forward", 4, 512): Tiles(64, 64, 512, 512, 8, 2),
    Key(90, "float16", "rows", 1, 128): Tiles(64, 64, 128, 128, 4, 1),
    Key(90, "bfloat16", "rows", 1, 128): Tiles(64, 64, 128, 128, 4, 3),
    Key(90, "half", "rows", 2, 128): Tiles(64, 32, 128, 128, 4, 2),
    Key(90, "bfloat16", "rows", 2, 128): Tiles(64, 64, 128, 128, 4, 3),
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
    Key(90, "tf32", "forward", 1, 128): Tiles(64, 64, 128, 128, 4, 2),
    Key(90, "tf32", "forward", 1, 512): Tiles(128, 128, 32, 32, 8, 3),
    Key(90, "tf32", "rows", 1, 128): Tiles(64, 32, 128, 128, 4, 1),
    Key(90, "tf32", "rows", 1, 512): Tiles(64, 64, 32, 256, 8, 2),
    Key(90, "tf32", "columns", 1, 128): Tiles(64, 64, 128, 128, 8, 1),
    Key(90, "tf32", "columns", 1, 512): Tiles(64, 64, 32, 256, 8, 2),
    Key(90, "float16 x 2", "forward", 3, 128): Tiles(64, 64, 128, 128, 4, 2),
    Key(90, "float16 x 2", "forward", 3, 512): Tiles(128, 128, 32, 32, 8, 3),
    Key(90, "float16 x 2", "forward", 4, 128): Tiles(64, 32, 128, 128, 4, 2),
    Key(90, "float16 x 2", "forward", 4, 512): Tiles(128, 32, 64, 64, 8, 3),
    Key(90, "tf32x3", "forward", 3, 512): Tiles(64, 64, 32, 32, 4, 3),
    Key(90, "tf32x3", "forward", 4, 512): Tiles(64, 64, 32, 32, 8, 3),
    Key(90, "half", "points", 2, 128): Tiles(64, 32, 128, 128, 4, 2),
    Key(90, "bfloat16", "points", 3, 128): Tiles(64, 32, 128, 128, 4, 2, 168),
    Key(90, "float16", "points", 3, 128): Tiles(64, 16, 128, 128, 4, 2),
    Key(90, "bfloat16", "points", 4, 128): Tiles(64, 32, 64, 128, 8, 2),
    Key(90, "bfloat16", "points", 2, 512): Tiles(64, 64, 128, 256, 8, 2),
    Key(90, "bfloat16", "points", 3, 512): Tiles(64, 64, 128, 256, 8, 2),
    Key(90, "bfloat16", "points", 4, 512): Tiles(64, 32, 128, 128, 8, 2),
    Key(90, "tf32x3", "points", 4, 128): Tiles(64, 16, 32, 64, 4, 2),
    Key(90, "tf32x3", "points", 3, 512): Tiles(64, 16, 32, 128, 4, 2),
    # Puts up to 600 bytes a thread aside in its loop: more than twice as fast all the same as what does not.
    Key(90, "tf32x3", "points", 4, 512): Tiles(64, 32, 64, 128, 8, 2),
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
