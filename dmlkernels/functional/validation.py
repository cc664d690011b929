"""Whether labels on a GPU are checked too, which synchronises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_blocks: list[object] = []  # that have not ended
_validating = False  # a plain global: torch.compile guards on it, and cannot trace a context variable


@contextmanager
def validation() -> Iterator[None]:
    """Check labels in full on every device, process-wide within a block. On a GPU this synchronises.

    Without it a bad label raises on a CPU, where the check costs nothing, and gives a NaN loss on a GPU.

    Example:
        >>> import dmlkernels as dml, torch
        >>> with dml.validation():
        ...     loss = dml.pd_loss(torch.randn(4, 8), torch.tensor([0, 1, 2, 0]), torch.randn(3, 8))
    """
    global _validating
    block = object()
    _blocks.append(block)
    _validating = True
    try:
        yield
    finally:  # those of two threads may overlap
        _blocks.remove(block)
        _validating = bool(_blocks)


def should_check(device_type: str, validate: bool) -> bool:
    """Return whether a call on this kind of device reads labels on the host."""
    return device_type == "cpu" or validate or _validating
