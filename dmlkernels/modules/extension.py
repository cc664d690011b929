"""Parameters that grow during training, and what optimisers keep for them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer


def extend(parameter: Tensor, rows: Tensor, optimizers: Optimizer | Iterable[Optimizer]) -> None:
    """Append rows to a parameter, and zeros to the state that optimisers keep for each row of it."""
    values, parameter.grad = torch.cat([parameter.data, rows]), None
    # Autograd remembers the old shape while any graph of the parameter lives, unless it has another type in between.
    parameter.data = values.new_empty(0, dtype=torch.float32 if values.dtype == torch.float16 else torch.float16)
    parameter.data = values
    for optimizer in [optimizers] if isinstance(optimizers, Optimizer) else optimizers:
        state = optimizer.state.get(parameter, {})
        for name, value in state.items():
            if isinstance(value, Tensor) and _is_by_row(value, values.shape[0] - rows.shape[0], values.shape[1:]):
                state[name] = torch.cat([value, value.new_zeros(rows.shape[0], *value.shape[1:])])


def _is_by_row(value: Tensor, rows: int, shape: torch.Size) -> bool:
    """Whether an optimiser keeps this for each row: as many numbers as the row has, or one, as Adafactor does."""
    return value.dim() > 0 and value.shape[0] == rows and value.shape[1:] in (shape, (1,) * len(shape))
