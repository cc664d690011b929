"""Backwards that wait for other ranks: they record no graph, and what they return has no derivative."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dmlkernels.ops.library import first_order

Backward = Callable[..., tuple[Tensor | None, ...]]


def _clone(gradient: Tensor, *of: Tensor) -> Tensor:
    return gradient.clone()


_Gradient = first_order(lambda: _clone)


def first_order_only(backward: Backward) -> Backward:
    """Decorate the backward of a function: under ``create_graph`` it does what it does without.

    Collectives and work in place are thus the same, and whoever differentiates its gradients is told.
    """

    @functools.wraps(backward)
    def call(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        with torch.no_grad():
            found = backward(ctx, *gradients)
        if not torch.is_grad_enabled():
            return found
        return tuple(None if one is None else _Gradient.apply(one, *gradients, *ctx.saved_tensors) for one in found)

    return call
