"""How custom ops are registered: the long form of ``torch.library.custom_op``.

The wrappers of the short form import the compiler at their first call, which takes a second and leaves modules
half-imported if Ctrl-C falls into it, and cost more than a small batch's arithmetic at every call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

_LIBRARY = torch.library.Library("dmlkernels", "FRAGMENT")


def register(
    name: str,
    schema: str,
    implementation: Callable[..., Any],
    fake: Callable[..., Any],
    differentiable: type[torch.autograd.Function] | None = None,
) -> Any:
    """Register a custom op for all devices.

    Args:
        name: after ``dmlkernels::``.
        schema: arguments and results, such as "(Tensor x) -> Tensor".
        implementation: of the op.
        fake: makes results of the right shapes and dtypes without computing them, for the compiler.
        differentiable: calls the op below autograd; None for an op without a derivative.

    Returns:
        The op, to be called.
    """
    _LIBRARY.define(name + schema)
    _LIBRARY.impl(name, implementation, "CompositeExplicitAutograd")
    torch.library.register_fake(f"dmlkernels::{name}", fake, lib=_LIBRARY)
    op = getattr(torch.ops.dmlkernels, name).default
    if differentiable is not None:
        _LIBRARY.impl(name, _autograd(op, differentiable), "Autograd")
    return op


def _autograd(op: Any, differentiable: type[torch.autograd.Function]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        if torch.is_grad_enabled():
            return differentiable.apply(*args)
        with torch._C._AutoDispatchBelowAutograd():  # most backward passes, without the cost of a node
            return op(*args)

    return call


def first_order(op: Callable[[], Any]) -> type[torch.autograd.Function]:
    """Make what ``register`` takes as ``differentiable`` for the backward of an op, which nobody may differentiate."""

    class Backward(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *args: Any) -> Any:
            with torch._C._AutoDispatchBelowAutograd():
                return op()(*args)

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> Any:
            raise RuntimeError("the losses of dmlkernels have first derivatives only: their gradient has no derivative")

    return Backward
