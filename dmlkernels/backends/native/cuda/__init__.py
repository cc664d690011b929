"""The compiled CUDA engine: whole problems, each in one launch or a few; nothing waits for the device.

All checks are made on this side: the C++ side trusts the addresses it gets.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from dmlkernels.backends.blocked import closed_form, normalise
from dmlkernels.backends.native.cuda import launch
from dmlkernels.backends.native.cuda.module import unavailable_reason
from dmlkernels.backends.pairs import Forward, Gradients, Pairs
from dmlkernels.backends.triton.run import full_float32, has_closed_form

__all__ = ["backward", "forward", "memo_shape", "serves", "unavailable_reason"]


def serves(device: torch.device) -> bool:
    """Whether tensors of this device are this engine's."""
    return device.type == "cuda"


def memo_shape(pairs: Pairs) -> tuple[int, ...]:
    """Of the closed form's sums, or of the reciprocal norms of all vectors."""
    if has_closed_form(pairs):
        return closed_form.memo_shape(pairs)
    return (pairs.num_rows * pairs.statistic.views + pairs.num_columns,)


def forward(pairs: Pairs) -> Forward:
    """Finished statistics of every row."""
    with _on(pairs.rows.device):
        if has_closed_form(pairs):
            with full_float32(pairs.rows.device):
                return closed_form.forward(pairs, normalise)
        return launch.forward(pairs)


def backward(pairs: Pairs, forward: Forward, gradient: Tensor, needs_rows: bool, needs_columns: bool) -> Gradients:
    """Gradients of rows and columns from that of the statistics."""
    with _on(pairs.rows.device):
        if has_closed_form(pairs):
            with full_float32(pairs.rows.device):
                return closed_form.backward(pairs, forward, gradient, needs_rows, needs_columns, normalise)
        return launch.backward(pairs, forward, gradient, needs_rows, needs_columns)


@contextmanager
def _on(device: torch.device) -> Iterator[None]:
    """On this device, without autocast, which would round statistics."""
    current: AbstractContextManager[None] = torch.cuda.device(device) if device.type == "cuda" else nullcontext()
    with current, torch.autocast(device.type, enabled=False):
        yield
