"""What autocast means here: products of halves where it was given halves, everything else as it is without."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def without_autocast(device_type: str) -> AbstractContextManager[object]:
    """Context in which operations on this kind of device keep the dtypes that they are given."""
    return torch.autocast(device_type, enabled=False) if is_under_autocast(device_type) else nullcontext()


def cat(vectors: Sequence[Tensor]) -> Tensor:
    """What ``torch.cat`` gives without autocast, which on a CPU refuses halves of another type than its own."""
    with without_autocast(vectors[0].device.type):
        return torch.cat(tuple(vectors))


def has_autocast(device_type: str) -> bool:
    """Whether there is autocast for the devices that losses run on. Dynamo of torch 2.6 does not trace torch's own
    question, ``torch.amp.is_autocast_available``."""
    return device_type != "meta"


def operands(rows: Tensor, columns: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """What is multiplied: as given, but under autocast float32 beside a half type is rounded to that, differentiably.

    That is autocast's own rule for a product of the two. Where both are float32 none was asked for: whatever made them
    so, such as a normalisation at the end of a network, runs in float32 under autocast for a reason.
    """
    if columns is None or not is_mixed(rows.dtype, columns.dtype) or not is_under_autocast(rows.device.type):
        return rows, columns
    half = rows.dtype if rows.dtype.itemsize == 2 else columns.dtype
    return rows.to(half), columns.to(half)


def is_mixed(rows: torch.dtype, columns: torch.dtype) -> bool:
    """Whether halves meet float32, as mixed precision has them: a backend may choose another product for these."""
    return (rows.itemsize, columns.itemsize) in ((2, 4), (4, 2))


def is_under_autocast(device_type: str) -> bool:
    """Whether autocast is on for devices of this kind."""
    return has_autocast(device_type) and torch.is_autocast_enabled(device_type)
