"""How many programs split one block's work, so that few blocks fill a device."""

from __future__ import annotations

DEFAULT_MULTIPROCESSORS = 132
MEMORY_FLOOR = 2**22  # numbers that partial results may take however small the problem


def num_splits(blocks: int, streamed: int, tile: int, multiprocessors: int, memory: int, limit: int) -> int:
    """Programs that split the streamed side of one block.

    Args:
        blocks: programs without a split.
        streamed: vectors to stream, in tiles of ``tile``; a share is at least four tiles.
        multiprocessors: of the device.
        memory: numbers that each share writes.
        limit: numbers that all shares together may write.
    """
    wanted = 2 * multiprocessors // max(1, blocks)
    most = -(-streamed // (4 * tile))
    return max(1, min(wanted, most, limit // max(1, memory)))
