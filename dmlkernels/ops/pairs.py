"""The engine's two custom ops: every statistic of every loss goes through ``pair_forward`` and ``pair_backward``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dmlkernels import backends
from dmlkernels.backends.pairs import Forward, Pairs
from dmlkernels.statistics import Statistic, build

_PAIRS = (
    "Tensor rows, Tensor? columns, Tensor? row_labels, Tensor? column_labels, Tensor? column_weights, bool within, "
    "int[] row_splits, int[] column_splits, str statistic, float[] parameters, str backend"
)
_GRADIENT = "Tensor statistics, Tensor memo, Tensor gradient, bool needs_rows, bool needs_columns, "


def pair_statistics(
    statistic: Statistic,
    rows: Tensor,  # (R, D), or (2, R, D) for a statistic of two views
    columns: Tensor | None = None,  # (C, D)
    *,
    backend: str,
    row_labels: Tensor | None = None,  # (R,) int64
    column_labels: Tensor | None = None,  # (C,) int64
    column_weights: Tensor | None = None,  # (C,)
    within: bool = False,
    row_splits: Sequence[int] = (),
    column_splits: Sequence[int] = (),
) -> Tensor:
    """Differentiable ``(R, width)`` statistics of the cosine scores; arguments as in Pairs, ``backend`` resolved."""
    described = (rows, columns, row_labels, column_labels, column_weights, within, row_splits, column_splits)
    statistics: Tensor = pair_forward(*described, statistic.name, statistic.parameters(), backend)[0]
    return statistics


@torch.library.custom_op("dmlkernels::pair_forward", mutates_args=(), schema=f"({_PAIRS}) -> (Tensor, Tensor)")
def pair_forward(*args: Any) -> tuple[Tensor, Tensor]:
    """Statistics of every row, and the backend's memo."""
    pairs, backend = _unpack(*args)
    return tuple(backend.forward(pairs))  # type: ignore[return-value]


@pair_forward.register_fake
def _(*args: Any) -> tuple[Tensor, Tensor]:
    pairs, backend = _unpack(*args)
    new = pairs.rows.new_empty
    return (
        new((pairs.num_rows, pairs.statistic.width), dtype=pairs.dtype),
        new(backend.memo_shape(pairs), dtype=pairs.dtype),
    )


@torch.library.custom_op(
    "dmlkernels::pair_backward", mutates_args=(), schema=f"({_GRADIENT}{_PAIRS}) -> (Tensor, Tensor)"
)
def pair_backward(
    statistics: Tensor, memo: Tensor, gradient: Tensor, needs_rows: bool, needs_columns: bool, *args: Any
) -> tuple[Tensor, Tensor]:
    """Gradients of rows and columns; an empty tensor where not needed. Has no derivative of its own."""
    pairs, backend = _unpack(*args)
    found = backend.backward(pairs, Forward(statistics, memo), gradient.contiguous(), needs_rows, needs_columns)
    nothing = pairs.rows.new_empty
    return (
        nothing(0) if found.rows is None else found.rows,
        nothing(0) if found.columns is None else found.columns,
    )


@pair_backward.register_fake
def _(
    statistics: Tensor, memo: Tensor, gradient: Tensor, needs_rows: bool, needs_columns: bool, *args: Any
) -> tuple[Tensor, Tensor]:
    pairs, _ = _unpack(*args)
    columns = pairs.rows if pairs.columns is None else pairs.columns
    return (
        pairs.rows.new_empty(pairs.rows.shape if needs_rows else (0,)),
        columns.new_empty(columns.shape if needs_columns else (0,), dtype=columns.dtype if needs_columns else None),
    )


def _unpack(*args: Any) -> tuple[Pairs, backends.Backend]:
    *tensors, within, row_splits, column_splits, statistic, parameters, backend = args
    rows, columns, row_labels, column_labels, column_weights = tensors
    pairs = Pairs(
        build(statistic, parameters),
        rows,
        columns,
        row_labels=row_labels,
        column_labels=column_labels,
        column_weights=column_weights,
        within=within,
        row_splits=tuple(row_splits),
        column_splits=tuple(column_splits),
    )
    return pairs, backends.get(backend)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)
    tensors, ctx.rest = inputs[:5], inputs[5:]
    ctx.save_for_backward(*output, *tensors)


def _backward(ctx: Any, gradient: Tensor | None, memo_gradient: None) -> tuple[Tensor | None, ...]:
    needs_rows, needs_columns = _is_wanted(ctx, 0), _is_wanted(ctx, 1)
    unneeded = (None,) * 9
    if gradient is None:
        return None, None, *unneeded
    statistics, memo, *tensors = ctx.saved_tensors
    rows, columns = pair_backward(statistics, memo, gradient, needs_rows, needs_columns, *tensors, *ctx.rest)
    return rows if needs_rows else None, columns if needs_columns else None, *unneeded


def _is_wanted(ctx: Any, position: int) -> bool:
    """Whether this pass asks for the gradient of an input. ``needs_input_grad`` only says that some pass might."""
    if not ctx.needs_input_grad[position]:
        return False
    try:
        return torch._C._will_engine_execute_node(ctx.next_functions[position][0])
    except RuntimeError:  # not supported for a leaf that torch.autograd.grad asks for
        return True


pair_forward.register_autograd(_backward, setup_context=_setup_context)
