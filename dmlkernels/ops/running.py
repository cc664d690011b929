"""Writing the running values of a loss."""

from __future__ import annotations

from torch import Tensor


def set_running(running: Tensor, value: Tensor) -> None:  # (), ()
    """Write a running value in place. As a vector: torch.compile of PyTorch 2.13 drops what is written to a () float64
    tensor."""
    running.view(1).copy_(value.view(1))
