"""Optimiser state for proxies that were added during training."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer


def extend_state(parameter: Tensor, num_new: int, optimizers: Optimizer | Iterable[Optimizer]) -> None:
    """Append ``num_new`` rows of zeros to the state that optimisers keep for each row of ``parameter``."""
    old_shape = (parameter.shape[0] - num_new, *parameter.shape[1:])
    for optimizer in [optimizers] if isinstance(optimizers, Optimizer) else optimizers:
        for name, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor) and value.shape == old_shape:
                rows = value.new_zeros(num_new, *old_shape[1:])
                optimizer.state[parameter][name] = torch.cat([value, rows])
