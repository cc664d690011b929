"""How many programs split one block's work, so that few blocks fill a device."""

from __future__ import annotations

from functools import lru_cache

import torch

DEFAULT_MULTIPROCESSORS = 132  # an H100's, for the interpreter and where kernels are only compiled
MEMORY_FLOOR = 2**22  # numbers that partial results may take however small the problem


def cdiv(a: int, b: int) -> int:
    """Quotient rounded up. Triton's own takes thirty times as long on the host, once or twice a launch."""
    return -(-a // b)


def multiprocessors(device: torch.device) -> int:
    """Number of multiprocessors of this device."""
    if device.type != "cuda":
        return DEFAULT_MULTIPROCESSORS
    return _multiprocessors(torch.cuda.current_device() if device.index is None else device.index)


@lru_cache
def _multiprocessors(index: int) -> int:
    return torch.cuda.get_device_properties(index).multi_processor_count


def num_splits(blocks: int, streamed: int, tile: int, units: int, memory: int, limit: int) -> int:
    """Programs that split the streamed side of one block.

    Args:
        blocks: programs without a split.
        streamed: vectors to stream, in tiles of ``tile``; a share is at least four tiles.
        units: multiprocessors of the device.
        memory: numbers that each share writes.
        limit: numbers that all shares together may write.
    """
    wanted = 2 * units // max(1, blocks)
    most = cdiv(streamed, 4 * tile)
    return max(1, min(wanted, most, limit // max(1, memory)))
