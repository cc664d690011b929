"""The compiled CUDA engine: whole problems, each in one launch or a few; nothing waits for the device. Labels of more
columns than a tile holds (SoftTriple with more than 64 centres a class, 32 in float64) are the torch backend's.

All checks are made on this side: the C++ side trusts the addresses it gets.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.backends.gpu import on_device, solver
from dmlkernels.backends.native.cuda import launch
from dmlkernels.backends.native.cuda.module import unavailable_reason
from dmlkernels.backends.native.cuda.problem import fits
from dmlkernels.backends.pairs import Forward, Gradients, Pairs, Solver

__all__ = ["backward", "forward", "saved_shape", "serves", "unavailable_reason"]


def serves(device: torch.device) -> bool:
    """Whether tensors of this device are this engine's."""
    return device.type == "cuda"


def saved_shape(pairs: Pairs) -> tuple[int, ...]:
    """Shape of what forward keeps for backward."""
    return _solver(pairs).saved_shape(pairs)


def forward(pairs: Pairs) -> Forward:
    """Finished statistics of every row."""
    with on_device(pairs.rows.device):
        return _solver(pairs).forward(pairs)


def backward(pairs: Pairs, forward: Forward, gradient: Tensor, needs_rows: bool, needs_columns: bool) -> Gradients:
    """Gradients of rows and columns from that of the statistics."""
    with on_device(pairs.rows.device):
        return _solver(pairs).backward(pairs, forward, gradient, needs_rows, needs_columns)


def _solver(pairs: Pairs) -> Solver:
    return solver(pairs, launch, fits(pairs))
