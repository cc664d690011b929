"""What the two GPU engines share: when and how the closed form replaces their tiles, and what they run under."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from dmlkernels.backends.gpu import closed
from dmlkernels.backends.pairs import Pairs

__all__ = ["closed", "memo_shape", "on_device"]


def memo_shape(pairs: Pairs) -> tuple[int, ...]:
    """Of the closed form's sums, or of the reciprocal norms of all vectors."""
    if closed.applies(pairs):
        return closed.memo_shape(pairs)
    return (pairs.num_rows * pairs.statistic.views + pairs.num_columns,)


@contextmanager
def on_device(device: torch.device) -> Iterator[None]:
    """On this device, without autocast, which would round statistics."""
    current: AbstractContextManager[None] = torch.cuda.device(device) if device.type == "cuda" else nullcontext()
    with current, torch.autocast(device.type, enabled=False):
        yield
