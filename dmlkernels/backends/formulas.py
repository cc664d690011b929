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


class Kind(NamedTuple):
    """What follows from the name of a formula."""

    num_states: int = 1  # numbers of float64 that backward needs
    num_parts: int = 0  # numbers that it gives beside the loss
    form: str = ""  # of the decidability in it, if there is one
    counts_samples: bool = False  # whether the last of its numbers is how many of the rows are samples


_ROWS = Kind()  # of a sum or mean over rows
_OTHER_KINDS = {"anchor": Kind(num_states=2), "fused": Kind(num_states=8, num_parts=3, counts_samples=True)}
for _form in ("inverse", "neg", "neg_log"):
    _OTHER_KINDS[f"decidability_{_form}"] = Kind(num_states=6, form=_form)
    _OTHER_KINDS[f"fused_{_form}"] = _OTHER_KINDS["fused"]._replace(form=_form)


def kind_of(formula: str) -> Kind:
    """Of the formula with this name."""
    return _OTHER_KINDS.get(formula, _ROWS)


def memory(formula: str, like: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Of the loss, its parts and the state."""
    new, kind = like.new_empty, kind_of(formula)
    return new((), dtype=dtype), new(kind.num_parts, dtype=dtype), new(kind.num_states, dtype=torch.float64)


def empty_gradient(statistics: Tensor, values: Tensor | None, needed: bool) -> Tensor:
    """Memory of the gradient of values; no rows if it is not needed."""
    return statistics.new_empty(0) if values is None or not needed else values.new_empty(values.shape)
