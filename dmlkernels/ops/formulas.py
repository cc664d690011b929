"""The custom ops of the formulas that a backend evaluates in one launch each way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dmlkernels import backends
from dmlkernels.backends.triton import formulas
from dmlkernels.ops.library import first_order, register

_FORMULA = "Tensor? labels, Tensor? weight, Tensor? poison, str formula, float[] numbers, bool mean"


class Formula(NamedTuple):
    """A loss as a function of row statistics, for which there are kernels."""

    name: str
    numbers: tuple[float, ...]


def evaluates(formula: Formula, statistics: Tensor, backend: str, weight: Tensor | None = None) -> bool:
    """Whether the backend evaluates this formula of these statistics by itself. A weight gets no gradient from it."""
    learns_weight = weight is not None and weight.requires_grad
    if learns_weight or not formulas.suits(statistics):
        return False
    return backends.resolve(backend, statistics.device.type) == "triton"


def evaluate(
    formula: Formula,
    statistics: Tensor,  # (R, width)
    *,
    values: Tensor | None = None,  # (R, k), for a formula that reads them
    added: Tensor | None = None,  # (N,), whose sum is added to the loss
    labels: Tensor | None = None,  # (R,) int64, IGNORED for rows that do not count
    weight: Tensor | None = None,  # (R,)
    poison: Tensor | None = None,  # (), added to the loss
    mean: bool = True,
) -> tuple[Tensor, Tensor]:
    """The loss, differentiable by statistics, values and what is added, and parts of it, which are not."""
    options = (labels, weight, poison, formula.name, list(formula.numbers), mean)
    loss, parts, _ = formula_forward(statistics, values, added, *options)
    return loss, parts


def _forward(
    statistics: Tensor,
    values: Tensor | None,
    added: Tensor | None,
    labels: Tensor | None,
    weight: Tensor | None,
    poison: Tensor | None,
    formula: str,
    numbers: Sequence[float],
    mean: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    values = None if values is None else values.contiguous()
    return formulas.forward(
        formula, tuple(numbers), statistics.contiguous(), values, added, labels, weight, poison, mean
    )  # fmt: skip


def _fake_forward(
    statistics: Tensor,
    values: Tensor | None,
    added: Tensor | None,
    labels: Tensor | None,
    weight: Tensor | None,
    poison: Tensor | None,
    formula: str,
    numbers: Sequence[float],
    mean: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    state = statistics.new_empty(formulas.num_states(formula), dtype=torch.float64)
    return statistics.new_empty(()), statistics.new_empty(formulas.num_parts(formula)), state


def _backward(
    gradient: Tensor,
    statistics: Tensor,
    values: Tensor | None,
    state: Tensor,
    labels: Tensor | None,
    weight: Tensor | None,
    formula: str,
    numbers: Sequence[float],
    mean: bool,
    needs_values: bool,
) -> tuple[Tensor, Tensor]:
    """Gradient of the statistics, and of the values, which has no rows if not needed."""
    values = None if values is None else values.contiguous()
    return formulas.backward(
        formula, tuple(numbers), statistics.contiguous(), values, labels, weight, state, gradient.contiguous(), mean,
        needs_values,
    )  # fmt: skip


def _fake_backward(gradient: Tensor, statistics: Tensor, values: Tensor | None, *args: object) -> tuple[Tensor, Tensor]:
    return statistics.new_empty(statistics.shape), formulas.empty_gradient(statistics, values, bool(args[-1]))


class FormulaOfRows(torch.autograd.Function):
    """formula_forward, with formula_backward as its derivative by statistics, values and what is added."""

    @staticmethod
    def forward(
        ctx: Any,
        statistics: Tensor,
        values: Tensor | None,
        added: Tensor | None,
        labels: Tensor | None,
        weight: Tensor | None,
        *args: Any,
    ) -> tuple[Tensor, Tensor, Tensor]:
        loss, parts, state = formula_forward(statistics, values, added, labels, weight, *args)
        ctx.mark_non_differentiable(parts, state)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(statistics, values, state, labels, weight)
        ctx.options, ctx.added = args[1:], () if added is None else added.shape
        return loss, parts, state

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, *nothing: None) -> tuple[Tensor | None, ...]:
        found, of_values, of_added = None, None, None
        if gradient is not None:
            needs_values = ctx.needs_input_grad[1]
            found, of_values = formula_backward(gradient, *ctx.saved_tensors, *ctx.options, needs_values)
            of_values = of_values if needs_values else None
            of_added = gradient.expand(ctx.added) if ctx.needs_input_grad[2] else None
        return found, of_values, of_added, *(None,) * 6


formula_forward = register(
    "formula_forward",
    f"(Tensor statistics, Tensor? values, Tensor? added, {_FORMULA}) -> (Tensor, Tensor, Tensor)",
    _forward,
    _fake_forward,
    FormulaOfRows,
)
formula_backward: Any = register(
    "formula_backward",
    "(Tensor gradient, Tensor statistics, Tensor? values, Tensor state, Tensor? labels, Tensor? weight, str formula, "
    "float[] numbers, bool mean, bool needs_values) -> (Tensor, Tensor)",
    _backward,
    _fake_backward,
    first_order(lambda: formula_backward),
)
