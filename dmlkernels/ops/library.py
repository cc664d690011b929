"""How custom ops are registered: the long form of ``torch.library.custom_op``.

The wrappers of the short form import the compiler at their first call, which takes a second and leaves modules
half-imported if Ctrl-C falls into it. And they go through PyTorch's dispatcher, which costs more than a small batch's
arithmetic: where nobody is there to see the op, its implementation is called instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

_LIBRARY = torch.library.Library("dmlkernels", "FRAGMENT")
_PLAIN = (Tensor, Parameter)


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
        differentiable: calls the op with gradients disabled; None for an op without a derivative.

    Returns:
        A function that calls the op, or does what it would.
    """
    _LIBRARY.define(name + schema)
    _LIBRARY.impl(name, implementation, "CompositeExplicitAutograd")
    torch.library.register_fake(f"dmlkernels::{name}", fake, lib=_LIBRARY)
    op = getattr(torch.ops.dmlkernels, name).default
    if differentiable is not None:
        _LIBRARY.impl(name, _below_autograd(op, differentiable), "Autograd")
    at_once = _below_autograd(implementation, differentiable)
    places = [place for place, argument in enumerate(op._schema.arguments) if "Tensor" in str(argument.type)]

    def call(*args: Any) -> Any:
        return op(*args) if _is_seen([args[place] for place in places]) else at_once(*args)

    return call


def _is_seen(tensors: Iterable[Any]) -> bool:
    """Whether a compiler, a tracer or a mode records the ops called, or a tensor handles them itself or has no memory.

    Lists of tensors count as such: only ranks pass any.
    """
    if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() or torch._C._get_tracing_state():
        return True
    for one in tensors:
        # Of a negative view, as the imaginary part of a conjugate is, memory holds the opposite.
        if one is not None and (type(one) not in _PLAIN or one.is_meta or one.is_neg() or one._is_zerotensor()):
            return True
    return False


def _below_autograd(
    function: Callable[..., Any], differentiable: type[torch.autograd.Function] | None
) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        if differentiable is not None and (torch.is_grad_enabled() or _is_forward_mode()):
            return differentiable.apply(*args)
        with torch._C._AutoDispatchBelowAutograd():
            return function(*args)

    return call


def register_backward(name: str, schema: str, implementation: Callable[..., Any], fake: Callable[..., Any]) -> Any:
    """Register the op of a backward, as ``register`` does: it has no derivative of its own."""
    op = register(name, schema, implementation, fake, first_order(lambda: op))
    return op


def _is_forward_mode() -> bool:
    """Whether gradients may be computed forward, which functions refuse, whether or not the others are enabled."""
    return forward_ad._current_level >= 0 and torch._C._is_fwd_grad_enabled()


class ReverseMode(torch.autograd.Function):
    """A function without forward-mode gradients, which says so."""

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> None:
        raise NotImplementedError("the losses of dmlkernels have reverse-mode gradients only: no forward-mode ones")


def first_order(op: Callable[[], Any]) -> type[torch.autograd.Function]:
    """Make what ``register`` takes as ``differentiable`` for the backward of an op, which nobody may differentiate."""

    class Backward(ReverseMode):
        @staticmethod
        def forward(ctx: Any, *args: Any) -> Any:
            return op()(*args)

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> Any:
            raise RuntimeError("the losses of dmlkernels have first derivatives only: their gradient has no derivative")

    return Backward
