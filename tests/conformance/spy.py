"""What a call dispatches: the custom ops with their arguments, and operations that synchronise with the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dmlkernels.ops.pairs import PairArguments

_WAITING = {"_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "item", "equal", "unique", "_unique2"}


class Spy(TorchDispatchMode):
    """Records every operation outside the custom ops; what happens inside one is the backend's business."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Sequence[Any]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        self.calls.append((func, args))
        return func(*args, **(kwargs or {}))

    def of_op(self, name: str) -> list[Sequence[Any]]:
        """Arguments of every call of a custom op."""
        return [args for func, args in self.calls if func.name() == f"dmlkernels::{name}"]

    @property
    def pairs(self) -> list[PairArguments]:
        """What was asked for of pairs, by the op of a statistic or of a loss."""
        calls = (*self.of_op("pair_forward"), *self.of_op("pair_loss_forward"))
        return [PairArguments(*args[: len(PairArguments._fields)]) for args in calls]

    @property
    def gradients_of_pairs(self) -> list[tuple[bool, ...]]:
        """Whether the gradients of rows, of columns and of the rows' values were."""
        statistics, losses = self.of_op("pair_backward"), self.of_op("pair_loss_backward")
        return [*(tuple(args[3:6]) for args in statistics), *(tuple(args[4:7]) for args in losses)]

    @property
    def waits(self) -> list[str]:
        """Operations after which a host with a GPU would wait."""
        return [func.name() for func, args in self.calls if _waits(func, args)]


def _waits(func: Any, args: Sequence[Any]) -> bool:
    name = func.name().removeprefix("aten::").split(".")[0]
    if name in ("index", "index_put", "index_put_"):
        return any(isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in args[1])
    return name in _WAITING


def watched(call: Callable[[], Tensor]) -> Spy:
    """Forward and backward under a spy."""
    with Spy() as spy:
        value = call()
        value.backward(torch.ones_like(value))
    return spy
