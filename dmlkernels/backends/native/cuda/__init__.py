"""The compiled CUDA engine: whole problems, each in one launch or a few; nothing waits for the device.

All checks are made on this side: the C++ side trusts the addresses it gets.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.backends.gpu import closed, memo_shape, on_device
from dmlkernels.backends.native.cuda import launch
from dmlkernels.backends.native.cuda.module import unavailable_reason
from dmlkernels.backends.pairs import Forward, Gradients, Pairs

__all__ = ["backward", "forward", "memo_shape", "serves", "unavailable_reason"]


def serves(device: torch.device) -> bool:
    """Whether tensors of this device are this engine's."""
    return device.type == "cuda"


def forward(pairs: Pairs) -> Forward:
    """Finished statistics of every row."""
    with on_device(pairs.rows.device):
        return closed.forward(pairs) if closed.applies(pairs) else launch.forward(pairs)


def backward(pairs: Pairs, forward: Forward, gradient: Tensor, needs_rows: bool, needs_columns: bool) -> Gradients:
    """Gradients of rows and columns from that of the statistics."""
    with on_device(pairs.rows.device):
        if closed.applies(pairs):
            return closed.backward(pairs, forward, gradient, needs_rows, needs_columns)
        return launch.backward(pairs, forward, gradient, needs_rows, needs_columns)
