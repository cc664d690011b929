"""What happens between ranks, which torch.compile leaves as it is: a call of a loss, and an agreement alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch

from dmlkernels.distributed.agreement import Numbers, Step
from dmlkernels.distributed.group import Ranks, ranks_of


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
def agree(name: str, ranks: Ranks, arguments: dict[str, Any]) -> None:
    """Raise on all ranks if they have different arguments."""
    with Step(name, ranks) as step:
        step.describe(arguments)
        step.agree(Numbers())


@lru_cache(maxsize=64)
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)
