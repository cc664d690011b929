"""Which submodules of a model may hand out again what they returned in an earlier pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registry


class Output:
    """What a submodule returned, for a second use."""

    def __init__(self, value: Any) -> None:
        self.value, self.state = value, _state(value)

    @property
    def intact(self) -> bool:
        """A plain tensor, or a tuple of them, into which nobody has written and to which nobody has added hooks."""
        return self.state is not None and _state(self.value) == self.state


def _state(value: Any) -> tuple[Any, ...] | None:
    """Differs once a tensor in ``value`` is written into; None where that could not be seen."""
    if type(value) is tuple:
        states = [_state(item) for item in value]
        return None if None in states else tuple(states)
    if value is None:
        return ()
    # An inference tensor counts no writes. A hook on the gradient would meet the gradients of both views.
    if type(value) is not Tensor or value.is_inference() or value._backward_hooks:
        return None
    return value._version, value.shape, value.requires_grad


def signature(value: Any) -> Any:
    """What can be compared of arguments without reading tensors; unlike anything else where that is not enough."""
    if isinstance(value, Tensor):
        return type(value), value.shape, value.dtype, value.device, value.requires_grad
    if type(value) in (tuple, list):
        return type(value), [signature(item) for item in value]
    if type(value) is dict:
        return dict, [(signature(key), signature(item)) for key, item in value.items()]
    if value is None or isinstance(value, bool | int | float | str | torch.dtype | torch.device):
        return type(value), value
    return object()


def called_beside(backbone: nn.Module, after: str) -> dict[nn.Module, bool]:
    """Submodules that the ancestors of ``after`` can call themselves, and whether their outputs can be known to be the
    same in a second pass: those that stand in one place only, have no hooks and are neither compiled nor scripted.

    What those call in turn is their own business; one that stands in several places could be called by either.
    """
    places = Counter(module for _, module in backbone.named_modules(remove_duplicate=False))
    beside: list[nn.Module] = []
    ancestor = backbone
    for name in after.split("."):
        if not has_plain_forward(ancestor):
            break
        for other, child in ancestor.named_children():
            if other != name:
                beside += _callable_parts(child)
        ancestor = ancestor.get_submodule(name)
    return {
        module: places[module] == 1 and has_plain_forward(module) and not _hooked(module)
        for module in beside
        if module is not ancestor
    }


def _callable_parts(module: nn.Module) -> Iterator[nn.Module]:
    if isinstance(module, nn.ModuleList | nn.ModuleDict):
        for child in module.children():
            yield from _callable_parts(child)
    else:
        yield module


def has_plain_forward(module: nn.Module) -> bool:
    """A module whose forward can be replaced: neither compiled, nor scripted, nor replaced already."""
    compiled = "forward" in vars(module) or getattr(module, "_compiled_call_impl", None) is not None
    return not compiled and not isinstance(module, torch.jit.ScriptModule)


def has_forward_hooks(module: nn.Module) -> bool:
    """Something runs between a call of the module and its forward, or between its forward and its caller."""
    everywhere = registry._global_forward_hooks, registry._global_forward_pre_hooks
    return any((*everywhere, module._forward_hooks, module._forward_pre_hooks))


def _hooked(module: nn.Module) -> bool:
    """The module or a part of it has hooks: they may change outputs or gradients, and differently each time."""
    everywhere = registry._global_backward_hooks, registry._global_backward_pre_hooks
    return any(everywhere) or any(
        has_forward_hooks(part) or part._backward_hooks or part._backward_pre_hooks for part in module.modules()
    )
