"""Formulas from row statistics to a loss, in one launch forward and one backward, for batches whose time is launches.

They say again what ``functional`` says in plain PyTorch; a loss without a kernel of its formula is evaluated there.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

MOST_NUMBERS = 2**20  # of the statistics: one program reads them all


def suits(num_rows: int, width: int) -> bool:
    """Whether one program should evaluate a formula of so many statistics."""
    return 0 < num_rows * width <= MOST_NUMBERS


def empty_gradient(statistics: Tensor, values: Tensor | None, needed: bool) -> Tensor:
    """Memory of the gradient of values; no rows if it is not needed."""
    return statistics.new_empty(0) if values is None or not needed else values.new_empty(values.shape)


def num_parts(formula: str) -> int:
    """Numbers that a formula gives beside the loss."""
    return 3 if formula.startswith("fused") else 0


def num_states(formula: str) -> int:
    """Numbers of float64 that backward needs."""
    if formula.startswith("fused"):
        return 8
    return 6 if formula.startswith("decidability") else 1 + (formula == "anchor")


def forward(
    formula: str,
    numbers: tuple[float, ...],
    statistics: Tensor,  # (R, width)
    values: Tensor | None,  # (R, k)
    added: Tensor | None,  # (N,)
    labels: Tensor | None,  # (R,)
    weight: Tensor | None,  # (R,)
    poison: Tensor | None,  # ()
    mean: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, its parts, and what backward needs."""
    from dmlkernels.backends.triton.formulas import launch

    return launch.forward(formula, numbers, statistics, values, added, labels, weight, poison, mean)


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


def backward(loss: LossGradient, statistics: Tensor) -> Tensor:
    """The gradient of the statistics, (R, width)."""
    from dmlkernels.backends.triton.formulas import slopes

    return slopes.gradient_of_statistics(loss, statistics)
