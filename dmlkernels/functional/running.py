"""Running statistics that a loss updates in place, as batch normalisation does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dmlkernels.functional.checks import check_number
from dmlkernels.ops.running import set_running


def check_momentum(momentum: float | None, **running: object) -> float | None:
    """None, or a number from 0 to 1, for which the running values must be tensors."""
    if momentum is None:
        return None
    refuse_recomputation("momentum")
    momentum = check_number("momentum", momentum, at_least=0, at_most=1)
    for name, value in running.items():
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{name}: got {type(value).__name__}, expected a () tensor to update with momentum={momentum}"
            )
    return momentum


@torch.no_grad()
def update_running(running: Any, found: Tensor, momentum: float) -> None:
    """Move a running tensor towards the value of the batch, unless that is not finite."""
    moved = momentum * running + (1 - momentum) * found.to(running.dtype)
    set_running(running, torch.where(found.isfinite(), moved, running))


def refuse_recomputation(name: str) -> None:
    """Raise within a backward pass, where torch.utils.checkpoint computes again what it did not keep: from what the
    first time has changed already, and so something else."""
    if not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1:
        raise RuntimeError(
            f"{name}: changes at each call, and torch.utils.checkpoint would call twice; leave the loss out of it"
        )
