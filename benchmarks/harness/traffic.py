"""Bytes that a rank sends in collectives and messages, counted where they reach the process groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# Which argument of each operation holds what this rank gives.
GIVEN = {
    "send": 0,
    "allreduce_": 0,
    "allgather_": 1,
    "_allgather_base_": 1,
    "alltoall_base_": 1,
    "broadcast_": 0,
    "reduce_scatter_": 1,
    "_reduce_scatter_base_": 1,
}
UNCOUNTED = ("recv_", "monitored_barrier_", "barrier")


@dataclass
class Call:
    """One call of an operation."""

    operation: str
    num_bytes: int
    ranks: int


@dataclass
class Traffic(TorchDispatchMode):
    """Record every call within a block."""

    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if function.namespace == "c10d":
            name = function._schema.name.removeprefix("c10d::")
            if name not in UNCOUNTED:
                group = next(part for part in args if isinstance(part, torch.ScriptObject))
                given = sum(tensor.nbytes for tensor in _tensors(args[GIVEN[name]]))
                self.calls.append(Call(name, given, torch.distributed.ProcessGroup.unbox(group).size()))
        return function(*args, **(kwargs or {}))

    def bytes_of(self, *operations: str) -> int:
        """Sum the bytes given to these operations, or to all if none is named."""
        return sum(call.num_bytes for call in self.calls if not operations or call.operation in operations)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
