"""Formulas from row statistics to a loss, within launches that are needed anyway: a small batch's time is launches."""

from __future__ import annotations

from torch import Tensor

from dmlkernels.backends.formulas import Loss, LossGradient

MOST_NUMBERS = 2**20  # of the statistics: one program reads them all


def suits(formula: str, num_rows: int, width: int) -> bool:
    """Whether one program should evaluate a formula of so many statistics."""
    return 0 < num_rows * width <= MOST_NUMBERS


def evaluate(loss: Loss, statistics: Tensor) -> None:  # (R, width)
    """Fill in the loss."""
    from dmlkernels.backends.triton.formulas import losses

    losses.evaluate(loss, statistics)


def backward(loss: LossGradient, statistics: Tensor) -> Tensor:
    """The gradient of the statistics, (R, width)."""
    from dmlkernels.backends.triton.formulas import slopes

    return slopes.gradient_of_statistics(loss, statistics)
