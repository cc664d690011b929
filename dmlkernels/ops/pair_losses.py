"""The custom ops of a loss that is a formula of one statistic, which an engine evaluates: all of it in one op, so that
a small batch waits for PyTorch once and not for every part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dmlkernels import backends
from dmlkernels.backends.formulas import Formulas, Loss, LossGradient, empty_gradient, kind_of, memory
from dmlkernels.backends.gpu import on_device
from dmlkernels.backends.pairs import Forward
from dmlkernels.backends.triton import formulas as kernels
from dmlkernels.backends.triton.labels import RawLabels
from dmlkernels.ops.library import ReverseMode, register, register_backward
from dmlkernels.ops.pairs import (
    NUM_DIFFERENTIABLE,
    NUM_TENSORS,
    PAIRS,
    PairArguments,
    contiguous,
    fake_backward,
    fake_forward,
    gradients_of_pairs,
    is_wanted,
    pair_arguments,
)
from dmlkernels.statistics import Statistic

_FORMULA = (
    "Tensor? values, Tensor? added, Tensor? weight, Tensor? poison, str formula, float[] numbers, bool mean, "
    "int? ignore_index"
)


class Formula(NamedTuple):
    """A loss as a function of row statistics, which engines evaluate."""

    name: str
    numbers: tuple[float, ...]


class _FormulaArguments(NamedTuple):
    """What both ops are given of the formula, in the order of ``_FORMULA``."""

    values: Tensor | None
    added: Tensor | None
    weight: Tensor | None
    poison: Tensor | None
    formula: str
    numbers: Sequence[float]
    mean: bool
    ignore_index: int | None  # the labels of rows are yet to be resolved with it, and give the poison


def pair_loss(formula: Formula, statistic: Statistic, rows: Tensor, *columns: Tensor, **options: Any) -> Tensor | None:
    """The loss that ``pair_loss_and_parts`` gives."""
    found = pair_loss_and_parts(formula, statistic, rows, *columns, **options)
    return None if found is None else found[0]


def pair_loss_and_parts(
    formula: Formula,
    statistic: Statistic,
    rows: Tensor,  # (R, D), or (2, R, D) for a statistic of two views
    columns: Tensor | None = None,  # (C, D)
    *,
    values: Tensor | None = None,  # (R, k), for a formula that reads them
    added: Tensor | None = None,  # (N,), whose sum is added to the loss
    weight: Tensor | None = None,  # (R,), held fixed
    poison: Tensor | None = None,  # (), added to the loss
    mean: bool = True,
    ignore_index: int | None = None,
    **pairs: Any,
) -> tuple[Tensor, Tensor] | None:
    """Compute a loss of the cosine scores, differentiable by rows, columns, their values and what is added, and parts
    of it, which are not; None if no backend evaluates the formula. Ignored rows do not count.

    ``pairs`` as ``pair_statistics`` takes them. With an ``ignore_index`` the labels of rows are those that the caller
    gave, whatever they are, and column j, or group j of columns, has class j.
    """
    learns_weight = weight is not None and weight.requires_grad
    device = rows.device.type
    engine = backends.formulas_of(backends.resolve(pairs["backend"], device), device)
    if learns_weight or engine is None or not engine.suits(formula.name, rows.shape[-2], statistic.width):
        return None
    arguments = pair_arguments(statistic, rows, columns, **pairs)
    of_formula = values, added, weight, poison, formula.name, list(formula.numbers), mean, ignore_index
    loss, parts, *_ = pair_loss_forward(*arguments, *of_formula)
    return loss, parts


def _forward(*args: Any) -> tuple[Tensor, ...]:
    """Compute the loss, its parts, and what backward needs: statistics, what was saved of pairs and of the formula, and
    labels if they had to be resolved."""
    arguments, of_formula = _split(args)
    if of_formula.ignore_index is None or arguments.row_labels is None:
        raw, labels, poison = None, arguments.rows.new_empty(0, dtype=torch.int64), of_formula.poison
    else:
        raw = RawLabels.of(arguments.row_labels, of_formula.ignore_index)
        labels, poison = raw.resolved, raw.poison
        arguments = arguments._replace(row_labels=labels)
    pairs = arguments.pairs()
    made = memory(of_formula.formula, pairs.rows, pairs.dtype)
    wanted = Loss(
        of_formula.formula, _numbers(arguments, of_formula), contiguous(of_formula.values),
        contiguous(of_formula.added), pairs.row_labels, contiguous(of_formula.weight), poison, of_formula.mean, *made,
    )  # fmt: skip
    backend: Any = backends.get(arguments.backend)
    if arguments.backend == "triton":
        statistics, saved = backend.forward(pairs, raw, wanted)
    else:
        with on_device(pairs.rows.device):
            if raw is not None:
                raw.resolve(pairs)
            statistics, saved = backend.forward(pairs)
            _engine(arguments).evaluate(wanted, statistics.contiguous())
    return wanted.loss, wanted.parts, statistics, saved, wanted.state, labels


def _fake_forward(*args: Any) -> tuple[Tensor, ...]:
    arguments, of_formula = _split(args)
    statistics, saved = fake_forward(*arguments)
    loss, parts, state = memory(of_formula.formula, statistics, statistics.dtype)
    num_labels = 0 if of_formula.ignore_index is None else statistics.shape[0]
    return loss, parts, statistics, saved, state, statistics.new_empty(num_labels, dtype=torch.int64)


def _backward(
    gradient: Tensor,
    statistics: Tensor,
    saved: Tensor,
    state: Tensor,
    needs_rows: bool,
    needs_columns: bool,
    needs_row_values: bool,
    needs_values: bool,
    *args: Any,
) -> tuple[Tensor, ...]:
    """Compute the gradients of rows, columns, row values and values; an empty tensor where not needed.

    Has no derivative of its own.
    """
    arguments, of_formula = _split(args)
    of_values = empty_gradient(statistics, of_formula.values, needs_values)
    of_loss = LossGradient(
        of_formula.formula, _numbers(arguments, of_formula), contiguous(of_formula.values),
        contiguous(arguments.row_labels), contiguous(of_formula.weight), state, gradient,
        of_values if needs_values else None,
    )  # fmt: skip
    needs = needs_rows, needs_columns, needs_row_values
    # Triton's kernels read slopes as they compute them, if they need nothing else.
    reads = arguments.backend == "triton" and (needs_rows or needs_columns) and not needs_row_values
    of_statistics: Any = of_loss
    if not reads:
        with on_device(statistics.device):
            of_statistics = _engine(arguments).backward(of_loss, statistics.contiguous())
    return *gradients_of_pairs(arguments, Forward(statistics, saved), of_statistics, *needs), of_values


def _fake_backward(
    gradient: Tensor, statistics: Tensor, saved: Tensor, state: Tensor, *args: Any
) -> tuple[Tensor, ...]:
    *needed, needs_values = args[: NUM_DIFFERENTIABLE + 1]
    arguments, of_formula = _split(args[NUM_DIFFERENTIABLE + 1 :])
    found = fake_backward(statistics, saved, statistics, *needed, *arguments)
    return *found, empty_gradient(statistics, of_formula.values, needs_values)


def _engine(arguments: PairArguments) -> Formulas:
    """What evaluates the formula: Triton's kernels, too, where another backend has the statistic for them."""
    return backends.formulas_of(arguments.backend, arguments.rows.device.type) or kernels


def _numbers(arguments: PairArguments, of_formula: _FormulaArguments) -> tuple[float, ...]:
    """Those given, and behind them how many rows are samples: the compiler, which takes the others as they are, would
    compile again for another."""
    samples = arguments.row_boundaries[:1] if kind_of(of_formula.formula).counts_samples else ()
    return (*of_formula.numbers, *map(float, samples))


def _split(args: Sequence[Any]) -> tuple[PairArguments, _FormulaArguments]:
    return PairArguments(*args[:_NUM_PAIRS]), _FormulaArguments(*args[_NUM_PAIRS:])


class _Call:
    """A call of pair_loss_forward: its arguments, and later its results but the loss, which are not differentiable."""

    def __init__(self, args: Sequence[Any]) -> None:
        self.args = args
        self.kept: tuple[Tensor, ...] = ()


class PairLoss(ReverseMode):
    """pair_loss_forward, with pair_loss_backward as its derivative by all that has one.

    Autograd is told of what has a derivative only: every argument and result that it passes on takes time.
    """

    @classmethod
    def apply(cls, *args: Any) -> tuple[Tensor, ...]:
        call = _Call(args)
        arguments, of_formula = _split(args)
        loss = super().apply(*arguments[:NUM_DIFFERENTIABLE], of_formula.values, of_formula.added, call)
        return loss, *call.kept

    @staticmethod
    def forward(ctx: Any, *differentiable_and_call: Any) -> Tensor:
        call: _Call = differentiable_and_call[-1]
        loss, *call.kept = pair_loss_forward(*call.args)
        _, *kept, labels = call.kept
        arguments, of_formula = _split(call.args)
        if of_formula.ignore_index is not None:
            arguments = arguments._replace(row_labels=labels)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*kept, *arguments[:NUM_TENSORS], of_formula.values, of_formula.weight)
        ctx.options = arguments[NUM_TENSORS:], (None, of_formula.formula, of_formula.numbers, of_formula.mean, None)
        ctx.added = () if of_formula.added is None else of_formula.added.shape
        return loss

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> tuple[Tensor | None, ...]:
        if gradient is None:
            return (None,) * (_ADDED + 2)
        wanted = [is_wanted(ctx, place) for place in range(NUM_DIFFERENTIABLE)]
        wanted.append(ctx.needs_input_grad[_VALUES])
        *tensors, values, weight = ctx.saved_tensors
        of_pairs, of_formula = ctx.options
        kept, tensors = tensors[:3], tensors[3:]
        found = pair_loss_backward(gradient, *kept, *wanted, *tensors, *of_pairs, values, None, weight, *of_formula)
        of_added = gradient.expand(ctx.added) if ctx.needs_input_grad[_ADDED] else None
        return *(value if want else None for value, want in zip(found, wanted, strict=True)), of_added, None


_NUM_PAIRS = len(PairArguments._fields)
_VALUES, _ADDED = NUM_DIFFERENTIABLE, NUM_DIFFERENTIABLE + 1  # places among the arguments of PairLoss

pair_loss_forward = register(
    "pair_loss_forward",
    f"({PAIRS}, {_FORMULA}) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _forward,
    _fake_forward,
    PairLoss,
)
pair_loss_backward = register_backward(
    "pair_loss_backward",
    "(Tensor gradient, Tensor statistics, Tensor saved, Tensor state, bool needs_rows, bool needs_columns, "
    f"bool needs_row_values, bool needs_values, {PAIRS}, {_FORMULA}) -> (Tensor, Tensor, Tensor, Tensor)",
    _backward,
    _fake_backward,
)
