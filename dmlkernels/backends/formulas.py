"""Losses that are formulas of row statistics, for engines that evaluate them: a small batch waits longer for a formula
in plain PyTorch than for its statistics.

Engines say again what ``functional`` says in plain PyTorch; a loss without such a formula is evaluated there.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Loss(NamedTuple):
    """A loss that is a formula of row statistics, and memory for it. Ignored rows do not count."""

    formula: str
    numbers: tuple[float, ...]
    values: Tensor | None  # (R, k)
    added: Tensor | None  # (N,), whose sum is added
    labels: Tensor | None  # (R,)
    weight: Tensor | None  # (R,)
    poison: Tensor | None  # (), added
    mean: bool
    loss: Tensor  # (); this and what follows are to be filled in
    parts: Tensor  # of it
    state: Tensor  # what backward needs


class LossGradient(NamedTuple):
    """The gradient of a formula's loss, and what that of statistics and values follows from. Ignored rows have none."""

    formula: str
    numbers: tuple[float, ...]
    values: Tensor | None  # (R, k)
    labels: Tensor | None  # (R,)
    weight: Tensor | None  # (R,)
    state: Tensor  # of forward
    gradient: Tensor  # ()
    of_values: Tensor | None = None  # (R, k), to be filled in


class Formulas(Protocol):
    """An engine for them."""

    def suits(self, formula: str, num_rows: int, width: int) -> bool:
        """Whether it should evaluate this formula of so many statistics."""
        ...

    def evaluate(self, loss: Loss, statistics: Tensor) -> None:  # (R, width)
        """Fill in the loss."""
        ...

    def backward(self, loss: LossGradient, statistics: Tensor) -> Tensor:
        """The gradient of the statistics, (R, width)."""
        ...


def memory(formula: str, like: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Of the loss, its parts and the state."""
    new = like.new_empty
    return new((), dtype=dtype), new(_num_parts(formula), dtype=dtype), new(_num_states(formula), dtype=torch.float64)


def empty_gradient(statistics: Tensor, values: Tensor | None, needed: bool) -> Tensor:
    """Memory of the gradient of values; no rows if it is not needed."""
    return statistics.new_empty(0) if values is None or not needed else values.new_empty(values.shape)


def _num_parts(formula: str) -> int:
    """Numbers that a formula gives beside the loss."""
    return 3 if formula.startswith("fused") else 0


def _num_states(formula: str) -> int:
    """Numbers of float64 that backward needs."""
    if formula.startswith("fused"):
        return 8
    return 6 if formula.startswith("decidability") else 1 + (formula == "anchor")
