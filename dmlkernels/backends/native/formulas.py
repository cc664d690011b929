"""Losses that are formulas of row statistics, compiled: the twin of ``dmlkernels.backends.triton.formulas``."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.backends.formulas import Loss, LossGradient
from dmlkernels.backends.native import module

_MOST_NUMBERS = 9  # of a formula


def suits(formula: str, num_rows: int, width: int) -> bool:
    """Whether the engine was compiled with this formula."""
    return hasattr(module.compiled.FormulaKind, formula) and num_rows > 0


def evaluate(loss: Loss, statistics: Tensor) -> None:  # (R, width)
    """Fill in the loss."""
    described, kept = _describe(loss, statistics)
    described.mean, described.loss, described.parts = loss.mean, loss.loss.data_ptr(), loss.parts.data_ptr()
    module.compiled.evaluate(described)
    del kept
    if loss.added is not None:
        loss.loss.add_(loss.added.sum())
    if loss.poison is not None:
        loss.loss.add_(loss.poison)


def backward(loss: LossGradient, statistics: Tensor) -> Tensor:
    """The gradient of the statistics, (R, width)."""
    described, kept = _describe(loss, statistics)
    gradient, found = loss.gradient.to(statistics.dtype), statistics.new_empty(statistics.shape)
    described.loss_gradient, described.gradient = gradient.data_ptr(), found.data_ptr()
    if loss.of_values is None:
        module.compiled.slopes(described)
    else:
        of_values = loss.of_values.to(statistics.dtype)  # itself, unless the types differ
        described.of_values = of_values.data_ptr()
        module.compiled.slopes(described)
        loss.of_values.copy_(of_values)
    del kept
    return found


def _describe(loss: Loss | LossGradient, statistics: Tensor) -> tuple[module.compiled.Formula, list[Tensor]]:
    """Describe a formula to the engine. Also returns the tensors that nobody else holds."""
    described, kept = module.compiled.Formula(), list[Tensor]()
    described.kind = getattr(module.compiled.FormulaKind, loss.formula)
    described.numbers = (*loss.numbers, *(0.0,) * (_MOST_NUMBERS - len(loss.numbers)))
    described.rows, described.width = statistics.shape
    described.wide, described.threads = statistics.dtype == torch.float64, torch.get_num_threads()
    described.statistics, described.state = statistics.data_ptr(), loss.state.data_ptr()
    if loss.labels is not None:
        described.labels = loss.labels.data_ptr()
    if loss.values is not None:
        kept.append(values := loss.values.to(statistics.dtype))
        described.values = values.data_ptr()
    if loss.weight is not None:
        kept.append(weight := loss.weight.to(statistics.dtype))
        described.weights = weight.data_ptr()
    return described, kept
