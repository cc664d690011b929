"""The engine's two custom ops: every statistic of every loss goes through ``pair_forward`` and ``pair_backward``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dmlkernels import backends
from dmlkernels.backends.autocast import operands
from dmlkernels.backends.pairs import Forward, Gradients, Pairs
from dmlkernels.ops.library import first_order, register
from dmlkernels.statistics import Statistic, build

_PAIRS = (
    "Tensor rows, Tensor? columns, Tensor? row_values, Tensor? row_labels, Tensor? column_labels, "
    "Tensor? column_weights, bool within, bool mixed, int[] row_boundaries, int[] column_boundaries, str statistic, "
    "float[] parameters, str backend"
)
_GRADIENT = (
    "Tensor statistics, Tensor saved, Tensor gradient, bool needs_rows, bool needs_columns, bool needs_row_values, "
)


class _Given(NamedTuple):
    """The arguments that both ops have, in the order of ``_PAIRS``."""

    rows: Tensor
    columns: Tensor | None
    row_values: Tensor | None
    row_labels: Tensor | None
    column_labels: Tensor | None
    column_weights: Tensor | None
    within: bool
    mixed: bool
    row_boundaries: Sequence[int]
    column_boundaries: Sequence[int]
    statistic: str
    parameters: Sequence[float]
    backend: str

    def pairs(self) -> Pairs:
        return Pairs(
            build(self.statistic, self.parameters),
            self.rows,
            self.columns,
            row_values=self.row_values,
            row_labels=self.row_labels,
            column_labels=self.column_labels,
            column_weights=self.column_weights,
            within=self.within,
            mixed=self.mixed,
            row_boundaries=tuple(self.row_boundaries),
            column_boundaries=tuple(self.column_boundaries),
        )


def pairs_of(*args: Any) -> Pairs:
    """What the arguments of ``pair_forward`` ask for."""
    return _Given(*args).pairs()


def pair_statistics(
    statistic: Statistic,
    rows: Tensor,  # (R, D), or (2, R, D) for a statistic of two views
    columns: Tensor | None = None,  # (C, D)
    *,
    backend: str,
    row_values: Tensor | None = None,  # (R, num_row_values)
    row_labels: Tensor | None = None,  # (R,) int64
    column_labels: Tensor | None = None,  # (C,) int64
    column_weights: Tensor | None = None,  # (C,)
    within: bool = False,
    mixed: bool = False,
    row_boundaries: Sequence[int] = (),
    column_boundaries: Sequence[int] = (),
) -> Tensor:
    """Compute the ``(R, width)`` statistics of the cosine scores, differentiably.

    Arguments as in ``Pairs``; ``backend`` as losses take it. Under autocast see ``operands``.
    """
    backend = backends.resolve(backend, rows.device.type, statistic.name)
    if not within:  # points among points are one matrix, whose distances are float32
        rows, columns = operands(rows, columns)
    statistics: Tensor = pair_forward(
        rows, columns, row_values, row_labels, column_labels, column_weights, within, mixed, row_boundaries,
        column_boundaries, statistic.name, [float(value) for value in statistic.parameters()], backend,
    )[0]  # fmt: skip
    return statistics


def _forward(*args: Any) -> tuple[Tensor, Tensor]:
    """Compute the statistics of every row, and what the backend saves for backward."""
    given = _Given(*args)
    return backends.get(given.backend).forward(given.pairs())


def _fake_forward(*args: Any) -> tuple[Tensor, Tensor]:
    given = _Given(*args)
    pairs, new = given.pairs(), given.rows.new_empty
    saved_shape = backends.get(given.backend).saved_shape(pairs)
    return new((pairs.num_rows, pairs.statistic.width), dtype=pairs.dtype), new(saved_shape, dtype=pairs.dtype)


def _backward(
    statistics: Tensor,
    saved: Tensor,
    gradient: Tensor,
    needs_rows: bool,
    needs_columns: bool,
    needs_row_values: bool,
    *args: Any,
) -> tuple[Tensor, ...]:
    """Compute the gradients of rows, columns and row values; an empty tensor where not needed.

    Has no derivative of its own.
    """
    given = _Given(*args)
    pairs, found, of_values = given.pairs(), Gradients(None, None), None
    if needs_rows or needs_columns:
        found = backends.get(given.backend).backward(
            pairs, Forward(statistics, saved), gradient.contiguous(), needs_rows, needs_columns
        )
    if needs_row_values and given.row_values is not None:
        of_values = pairs.statistic.row_values_gradient(statistics, gradient).to(given.row_values.dtype)
    nothing = given.rows.new_empty
    return tuple(nothing(0) if value is None else value for value in (*found, of_values))


def _fake_backward(
    statistics: Tensor,
    saved: Tensor,
    gradient: Tensor,
    needs_rows: bool,
    needs_columns: bool,
    needs_row_values: bool,
    *args: Any,
) -> tuple[Tensor, ...]:
    rows, columns, row_values, *_ = args
    wanted = ((rows, needs_rows), (columns, needs_columns), (row_values, needs_row_values))
    return tuple(
        rows.new_empty(0) if given is None or not needed else given.new_empty(given.shape) for given, needed in wanted
    )


class PairStatistics(torch.autograd.Function):
    """pair_forward, with pair_backward as its derivative."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, Tensor]:
        given = _Given(*args)
        statistics, saved = pair_forward(*given)
        ctx.set_materialize_grads(False)
        # Tensors are kept in one place only, where autograd frees them and checks that they are not written into.
        ctx.save_for_backward(statistics, saved, *given[:_NUM_TENSORS])
        ctx.options = given[_NUM_TENSORS:]
        return statistics, saved

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, saved_gradient: None) -> tuple[Tensor | None, ...]:
        wanted = [_is_wanted(ctx, position) for position in range(_NUM_DIFFERENTIABLE)]
        if gradient is None:
            return (None,) * len(_Given._fields)
        statistics, saved, *tensors = ctx.saved_tensors
        found = pair_backward(statistics, saved, gradient, *wanted, *tensors, *ctx.options)
        return *(value if is_wanted else None for value, is_wanted in zip(found, wanted, strict=True)), *_NO_GRADIENT

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> None:
        raise NotImplementedError("the losses of dmlkernels have reverse-mode gradients only: no forward-mode ones")


_NUM_TENSORS = _Given._fields.index("within")
_NUM_DIFFERENTIABLE = _Given._fields.index("row_labels")
_NO_GRADIENT = (None,) * (len(_Given._fields) - _NUM_DIFFERENTIABLE)


def _is_wanted(ctx: Any, position: int) -> bool:
    """Whether this pass asks for the gradient of an input. ``needs_input_grad`` only says that some pass might."""
    if not ctx.needs_input_grad[position]:
        return False
    try:
        return torch._C._will_engine_execute_node(ctx.next_functions[position][0])
    except RuntimeError:  # not supported for a leaf that torch.autograd.grad asks for
        return True


pair_forward = register("pair_forward", f"({_PAIRS}) -> (Tensor, Tensor)", _forward, _fake_forward, PairStatistics)
pair_backward: Any = register(
    "pair_backward",
    f"({_GRADIENT}{_PAIRS}) -> (Tensor, Tensor, Tensor)",
    _backward,
    _fake_backward,
    first_order(lambda: pair_backward),
)
