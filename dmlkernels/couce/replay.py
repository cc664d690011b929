"""Run a model again without running again what comes before one of its submodules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Output:
    """What a submodule returned, for a second use."""

    def __init__(self, value: Any) -> None:
        self.value, self.version = value, _version(value)

    @property
    def intact(self) -> bool:
        """Nobody has written into the value since."""
        return self.version is not None and _version(self.value) == self.version


def _version(value: Any) -> int | None:
    """Goes up when a tensor in ``value`` is written into; None where that cannot be seen."""
    if isinstance(value, Tensor):
        return None if value.is_inference() else value._version
    if isinstance(value, Mapping):
        return _version(list(value.values()))
    if isinstance(value, list | tuple):
        versions = [_version(item) for item in value]
        return None if None in versions else sum(version for version in versions if version is not None)
    return 0


def called_beside(backbone: nn.Module, after: str) -> list[nn.Module]:
    """Submodules that the ancestors of ``after`` can call themselves and that stand in one place only.

    What those call in turn is their own business; one that stands in several places could be called by either.
    """
    places = Counter(module for _, module in backbone.named_modules(remove_duplicate=False))
    beside: list[nn.Module] = []
    ancestor = backbone
    for name in after.split("."):
        for other, child in ancestor.named_children():
            if other != name:
                beside += _callable_parts(child)
        ancestor = ancestor.get_submodule(name)
    return [module for module in beside if places[module] == 1]


def _callable_parts(module: nn.Module) -> Iterator[nn.Module]:
    if isinstance(module, nn.ModuleList | nn.ModuleDict):
        for child in module.children():
            yield from _callable_parts(child)
    else:
        yield module


def can_skip(module: nn.Module) -> bool:
    """A plain module, whose forward can be replaced: neither compiled nor scripted."""
    compiled = "forward" in vars(module) or getattr(module, "_compiled_call_impl", None) is not None
    return not compiled and not isinstance(module, torch.jit.ScriptModule)


@contextmanager
def patched(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    vars(module)["forward"] = forward
    try:
        yield
    finally:
        del vars(module)["forward"]


@contextmanager
def replayed(module: nn.Module, outputs: list[Output], substituted: list[None]) -> Iterator[None]:
    """Hand out the recorded outputs, one a call, until the pass has come to the intervention.

    An output written into since then is not what the module returned: the module runs again.
    """
    forward, remaining = module.forward, iter(outputs)

    def replay(*args: Any, **kwargs: Any) -> Any:
        output = None if substituted else next(remaining, None)
        return output.value if output is not None and output.intact else forward(*args, **kwargs)

    with patched(module, replay):
        yield
