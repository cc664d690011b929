"""The one question that decides between reading values and masking them."""

from __future__ import annotations

from torch import Tensor


def readable(tensor: Tensor) -> bool:
    """Whether the host can look at values without waiting for a device."""
    return tensor.device.type == "cpu"
