"""A call of a loss on all ranks, and what else torch.compile leaves as it is."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import torch

from dmlkernels.distributed.agreement import Step
from dmlkernels.distributed.group import ranks_of

T = TypeVar("T")


@torch.compiler.disable
def call_across_ranks(
    function: Callable[..., Any], group: Any, proxies: Any, args: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    """Call ``function`` with a ``Step`` in place of its group; what it raises before they agree goes to all ranks."""
    with Step(function.__name__, ranks_of(group, proxies)) as step:
        bound = _signature(function).bind(*args, **options)
        bound.apply_defaults()
        step.describe(bound.arguments)
        bound.arguments["process_group"] = step
        return function(*bound.args, **bound.kwargs)


@torch.compiler.disable
def uncompiled(function: Callable[..., T], *args: Any) -> T:
    """Call a function that waits for other ranks."""
    return function(*args)


@lru_cache(maxsize=64)
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)
