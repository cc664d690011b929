"""What every choice of tiles must hold, whatever the sizes: none of it shows in the few that a test run compiles."""

from __future__ import annotations

from itertools import product

import pytest
import torch

pytest.importorskip("triton")

from dmlkernels.backends.triton.plan import Work, backward_tiles, forward_tiles
from tests.triton.compiling import TARGETS

DIMS = (1, 8, 16, 17, 32, 33, 63, 64, 65, 100, 128, 129, 208, 256, 257, 512, 1000)
OPERANDS = {
    torch.bfloat16: ("tf32x3",),
    torch.float16: ("tf32x3", "tf32"),
    torch.float32: ("ieee", "tf32", "tf32x3", "bf16x3"),
    torch.float64: ("ieee",),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("operand", OPERANDS, ids=str)
def test_a_slice_is_what_is_multiplied_or_several_blocks(target: str, operand: torch.dtype) -> None:
    """Else the kernel does not compile. Seen for the field in float32 at D <= 32, on Hopper."""
    arch = TARGETS[target][1]
    for precision, dim, live, group, given, within, views, columns in product(
        OPERANDS[operand], DIMS, (1, 2, 3, 4), (1, 4), (False, True), (False, True), (1, 2), (False, True)
    ):
        work = Work(dim, operand, live, group, precision, given, within, views)
        tiles = backward_tiles(work, arch, columns)
        assert tiles.SLICE == tiles.BLOCK_D if dim <= tiles.BLOCK_D else tiles.SLICE % tiles.BLOCK_D == 0, (work, tiles)


@pytest.mark.parametrize(("parts", "precision"), [(1, "tf32"), (2, "tf32x3")])
def test_parts_are_of_whole_vectors(parts: int, precision: str) -> None:
    """Whose gradients are of whole slices; of several parts by four warps, see plan.py."""
    for dim, live, group, given, columns in product(DIMS[:-1], (1, 2), (1, 4), (False, True), (False, True)):
        work = Work(dim, torch.float32, live, group, precision, given, parts=parts)
        tiles = backward_tiles(work, TARGETS["sm_90"][1], columns)
        assert dim <= tiles.BLOCK_D and tiles.BLOCK_D % tiles.SLICE == 0, (work, tiles)
        assert tiles.num_warps == 4 or parts == 1, (work, tiles)


@pytest.mark.parametrize("target", TARGETS)
def test_a_small_batch_takes_half_a_tile(target: str) -> None:
    for operand, dim in product(OPERANDS, DIMS):
        work = Work(dim, operand, precision=OPERANDS[operand][0])
        many, few = (forward_tiles(work, TARGETS[target][1], count) for count in (65, 64))
        assert min(many.M, 64) == few.M and few.N <= many.N and few.num_warps * many.M == many.num_warps * few.M
