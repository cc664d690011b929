"""Whether labels on a GPU are checked too, at the price of waiting for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_validating = False  # a plain global: torch.compile guards on it, and cannot trace a context variable


@contextmanager
def validation() -> Iterator[None]:
    """Make the full label check on every device, process-wide within a block; the host then waits for a GPU.

    Without it a bad label raises on a CPU, where looking costs nothing, and gives a NaN loss on a GPU.

    Example:
        >>> import dmlkernels as dml, torch
        >>> with dml.validation():
        ...     loss = dml.pd_loss(torch.randn(4, 8), torch.tensor([0, 1, 2, 0]), torch.randn(3, 8))
    """
    global _validating
    before, _validating = _validating, True
    try:
        yield
    finally:
        _validating = before


def should_check(device_type: str, validate: bool) -> bool:
    """Whether a call on this kind of device reads labels on the host."""
    return device_type == "cpu" or validate or _validating
