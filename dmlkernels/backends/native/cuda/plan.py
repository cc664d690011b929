"""How work is shared among blocks: a pure function of sizes and the number of multiprocessors."""

from __future__ import annotations

from typing import NamedTuple

from dmlkernels.backends.gpu.splits import cdiv, num_splits

SMALL = 100_000  # scores up to which one launch does it all
_FEWEST = 8  # places a block of a small problem owns at least


class WorkSplit(NamedTuple):
    """``blocks`` own ``per_block`` places each, in ``slices`` of the gradient, against ``num_splits`` of the others."""

    per_block: int
    blocks: int
    slices: int = 1
    num_splits: int = 1


def is_small(rows: int, columns: int) -> bool:
    """Whether one launch a pass is best: more would take longer to start than to run. Norms are found where scores are:
    where there are none, it would leave them out."""
    return 0 < rows * columns <= SMALL


def split_small_problem(places: int, per_tile: int, slices: int, group: int, units: int) -> WorkSplit:
    """Blocks that each see all of the other side, so many that they fill the device."""
    per_block = min(per_tile, max(_FEWEST, cdiv(places * slices, units)))
    per_block = max(1, per_block // group) * group
    return WorkSplit(per_block, cdiv(places, per_block), slices)


def split_large_problem(
    places: int, streamed: int, per_tile: int, slices: int, units: int, memory: int, limit: int
) -> WorkSplit:
    """Whole tiles, the streamed side shared so that few blocks fill the device.

    Args:
        places: owned vectors.
        streamed: the others.
        units: multiprocessors.
        memory, limit: as in ``num_splits``.
    """
    blocks = cdiv(places, per_tile)
    return WorkSplit(per_tile, blocks, slices, num_splits(blocks * slices, streamed, per_tile, units, memory, limit))
