"""The engine's two custom ops: every statistic of every loss goes through ``pair_forward`` and ``pair_backward``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dmlkernels import backends
from dmlkernels.backends.autocast import operands
from dmlkernels.backends.pairs import Forward, Gradients, Pairs
from dmlkernels.ops.library import ReverseMode, register, register_backward
from dmlkernels.statistics import Statistic, build

PAIRS = (
    "Tensor rows, Tensor? columns, Tensor? row_values, Tensor? row_labels, Tensor? column_labels, "
    "Tensor? column_weights, bool within, bool mixed, SymInt[] row_boundaries, SymInt[] column_boundaries, "
    "str statistic, float[] parameters, str backend"
)
_GRADIENT = (
    "Tensor statistics, Tensor saved, Tensor gradient, bool needs_rows, bool needs_columns, bool needs_row_values, "
)


class PairArguments(NamedTuple):
    """What ops are given of pairs, in the order of ``PAIRS``."""

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
        """What they ask for."""
        return Pairs(
            build(self.statistic, self.parameters),
            self.rows,
            self.columns,
            row_values=self.row_values,
            row_labels=contiguous(self.row_labels),
            column_labels=contiguous(self.column_labels),
            column_weights=contiguous(self.column_weights),
            within=self.within,
            mixed=self.mixed,
            row_boundaries=tuple(self.row_boundaries),
            column_boundaries=tuple(self.column_boundaries),
        )


def contiguous(values: Tensor | None) -> Tensor | None:
    """Values without gaps, as kernels read them."""
    return None if values is None else values.contiguous()


def pair_arguments(
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
) -> PairArguments:
    """Arguments as in ``Pairs``, resolved for an op; ``backend`` as losses take it. Under autocast see ``operands``."""
    backend = backends.resolve(backend, rows.device.type, statistic.name)
    if not within:  # points among points are one matrix, whose distances are float32
        rows, columns = operands(rows, columns)
    return PairArguments(
        rows, columns, row_values, row_labels, column_labels, column_weights, within, mixed, row_boundaries,
        column_boundaries, statistic.name, [float(value) for value in statistic.parameters()], backend,
    )  # fmt: skip


def pair_statistics(statistic: Statistic, rows: Tensor, columns: Tensor | None = None, **options: Any) -> Tensor:
    """Compute the ``(R, width)`` statistics of the cosine scores, differentiably. Arguments as ``pair_arguments``."""
    statistics: Tensor = pair_forward(*pair_arguments(statistic, rows, columns, **options))[0]
    return statistics


def _forward(*args: Any) -> tuple[Tensor, Tensor]:
    """Compute the statistics of every row, and what the backend saves for backward."""
    given = PairArguments(*args)
    return backends.get(given.backend).forward(given.pairs())


def fake_forward(*args: Any) -> tuple[Tensor, Tensor]:
    """Results of ``pair_forward`` without values."""
    given = PairArguments(*args)
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
    given = PairArguments(*args)
    needs = needs_rows, needs_columns, needs_row_values
    return gradients_of_pairs(given, Forward(statistics, saved), gradient.contiguous(), *needs)


def gradients_of_pairs(
    given: PairArguments,
    forward: Forward,
    gradient: Any,  # of the statistics, or what this backend takes for it
    needs_rows: bool,
    needs_columns: bool,
    needs_row_values: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """What ``pair_backward`` computes."""
    pairs, found, of_values = given.pairs(), Gradients(None, None), None
    if needs_rows or needs_columns:
        found = backends.get(given.backend).backward(pairs, forward, gradient, needs_rows, needs_columns)
    if needs_row_values and given.row_values is not None:
        of_values = pairs.statistic.row_values_gradient(forward.statistics, gradient).to(given.row_values.dtype)
    of_rows, of_columns, of_values = (
        given.rows.new_empty(0) if value is None else value for value in (*found, of_values)
    )
    return of_rows, of_columns, of_values


def fake_backward(
    statistics: Tensor,
    saved: Tensor,
    gradient: Tensor,
    needs_rows: bool,
    needs_columns: bool,
    needs_row_values: bool,
    *args: Any,
) -> tuple[Tensor, ...]:
    """Results of ``pair_backward`` without values."""
    rows, columns, row_values, *_ = args
    wanted = ((rows, needs_rows), (columns, needs_columns), (row_values, needs_row_values))
    return tuple(
        rows.new_empty(0) if given is None or not needed else given.new_empty(given.shape) for given, needed in wanted
    )


class PairStatistics(ReverseMode):
    """pair_forward, with pair_backward as its derivative."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, Tensor]:
        given = PairArguments(*args)
        statistics, saved = pair_forward(*given)
        ctx.set_materialize_grads(False)
        # Tensors are kept in one place only, where autograd frees them and checks that they are not written into.
        ctx.save_for_backward(statistics, saved, *given[:NUM_TENSORS])
        ctx.options = given[NUM_TENSORS:]
        return statistics, saved

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, saved_gradient: None) -> tuple[Tensor | None, ...]:
        wanted = [is_wanted(ctx, position) for position in range(NUM_DIFFERENTIABLE)]
        if gradient is None:
            return (None,) * len(PairArguments._fields)
        statistics, saved, *tensors = ctx.saved_tensors
        found = pair_backward(statistics, saved, gradient, *wanted, *tensors, *ctx.options)
        return *(value if want else None for value, want in zip(found, wanted, strict=True)), *NO_GRADIENT


NUM_TENSORS = PairArguments._fields.index("within")
NUM_DIFFERENTIABLE = PairArguments._fields.index("row_labels")
NO_GRADIENT = (None,) * (len(PairArguments._fields) - NUM_DIFFERENTIABLE)


def is_wanted(ctx: Any, position: int) -> bool:
    """Whether this pass asks for the gradient of an input. ``needs_input_grad`` only says that some pass might."""
    if not ctx.needs_input_grad[position]:
        return False
    try:
        return torch._C._will_engine_execute_node(ctx.next_functions[position][0])
    except RuntimeError:  # not supported for a leaf that torch.autograd.grad asks for
        return True


pair_forward = register("pair_forward", f"({PAIRS}) -> (Tensor, Tensor)", _forward, fake_forward, PairStatistics)
pair_backward = register_backward(
    "pair_backward",
    f"({_GRADIENT}{PAIRS}) -> (Tensor, Tensor, Tensor)",
    _backward,
    fake_backward,
)
