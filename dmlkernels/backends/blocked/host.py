"""What the blocked backend asks of a device before it chooses a way."""

from __future__ import annotations

from torch import Tensor


def readable(tensor: Tensor) -> bool:
    """Return whether the host can read values without synchronising."""
    return tensor.device.type == "cpu"


def has_float64(tensor: Tensor) -> bool:
    """Whether the device is known to compute in float64: Apple's do not."""
    return tensor.device.type in ("cpu", "cuda")
