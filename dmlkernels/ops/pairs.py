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
    "int[] row_boundaries, int[] column_boundaries, str statistic, float[] parameters, str backend"
)
_GRADIENT = "Tensor statistics, Tensor saved, Tensor gradient, bool needs_rows, bool needs_columns, "


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
    row_boundaries: Sequence[int] = (),
    column_boundaries: Sequence[int] = (),
) -> Tensor:
    """Differentiable ``(R, width)`` statistics of the cosine scores; arguments as in Pairs, ``backend`` resolved."""
    described = (rows, columns, row_labels, column_labels, column_weights, within, row_boundaries, column_boundaries)
    statistics: Tensor = pair_forward(*described, statistic.name, statistic.parameters(), backend)[0]
    return statistics


def _forward(*args: Any) -> tuple[Tensor, Tensor]:
    """Statistics of every row, and the backend's saved."""
    pairs, backend = _unpack(*args)
    return tuple(backend.forward(pairs))  # type: ignore[return-value]


def _fake_forward(*args: Any) -> tuple[Tensor, Tensor]:
    pairs, backend = _unpack(*args)
    new = pairs.rows.new_empty
    return (
        new((pairs.num_rows, pairs.statistic.width), dtype=pairs.dtype),
        new(backend.saved_shape(pairs), dtype=pairs.dtype),
    )


def _backward(
    statistics: Tensor, saved: Tensor, gradient: Tensor, needs_rows: bool, needs_columns: bool, *args: Any
) -> tuple[Tensor, Tensor]:
    """Gradients of rows and columns; an empty tensor where not needed. Has no derivative of its own."""
    pairs, backend = _unpack(*args)
    found = backend.backward(pairs, Forward(statistics, saved), gradient.contiguous(), needs_rows, needs_columns)
    nothing = pairs.rows.new_empty
    return (
        nothing(0) if found.rows is None else found.rows,
        nothing(0) if found.columns is None else found.columns,
    )


def _fake_backward(
    statistics: Tensor, saved: Tensor, gradient: Tensor, needs_rows: bool, needs_columns: bool, *args: Any
) -> tuple[Tensor, Tensor]:
    pairs, _ = _unpack(*args)
    columns = pairs.rows if pairs.columns is None else pairs.columns
    return (
        pairs.rows.new_empty(pairs.rows.shape if needs_rows else (0,)),
        columns.new_empty(columns.shape if needs_columns else (0,), dtype=columns.dtype if needs_columns else None),
    )


def _unpack(*args: Any) -> tuple[Pairs, backends.Backend]:
    *tensors, within, row_boundaries, column_boundaries, statistic, parameters, backend = args
    rows, columns, row_labels, column_labels, column_weights = tensors
    pairs = Pairs(
        build(statistic, parameters),
        rows,
        columns,
        row_labels=row_labels,
        column_labels=column_labels,
        column_weights=column_weights,
        within=within,
        row_boundaries=tuple(row_boundaries),
        column_boundaries=tuple(column_boundaries),
    )
    return pairs, backends.get(backend)


class _Differentiable(torch.autograd.Function):
    """pair_forward, with pair_backward as its derivative."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, Tensor]:
        with torch._C._AutoDispatchBelowAutograd():
            output: tuple[Tensor, Tensor] = pair_forward(*args)
        ctx.set_materialize_grads(False)
        ctx.rest = args[5:]
        ctx.save_for_backward(*output, *args[:5])
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, saved_gradient: None) -> tuple[Tensor | None, ...]:
        needs_rows, needs_columns = _is_wanted(ctx, 0), _is_wanted(ctx, 1)
        unneeded = (None,) * 9
        if gradient is None:
            return None, None, *unneeded
        statistics, saved, *tensors = ctx.saved_tensors
        rows, columns = pair_backward(statistics, saved, gradient, needs_rows, needs_columns, *tensors, *ctx.rest)
        return rows if needs_rows else None, columns if needs_columns else None, *unneeded


class _Once(torch.autograd.Function):
    """pair_backward, which nobody may differentiate."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, Tensor]:
        with torch._C._AutoDispatchBelowAutograd():
            gradients: tuple[Tensor, Tensor] = pair_backward(*args)
        return gradients

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        raise RuntimeError("the losses of dmlkernels have first derivatives only: their gradient has no derivative")


def _is_wanted(ctx: Any, position: int) -> bool:
    """Whether this pass asks for the gradient of an input. ``needs_input_grad`` only says that some pass might."""
    if not ctx.needs_input_grad[position]:
        return False
    try:
        return torch._C._will_engine_execute_node(ctx.next_functions[position][0])
    except RuntimeError:  # not supported for a leaf that torch.autograd.grad asks for
        return True


# The long form of torch.library.custom_op, whose wrappers cost more than a small batch's arithmetic.
_LIBRARY = torch.library.Library("dmlkernels", "FRAGMENT")
_LIBRARY.define(f"pair_forward({_PAIRS}) -> (Tensor, Tensor)")
_LIBRARY.define(f"pair_backward({_GRADIENT}{_PAIRS}) -> (Tensor, Tensor)")
_LIBRARY.impl("pair_forward", _forward, "CompositeExplicitAutograd")
_LIBRARY.impl("pair_backward", _backward, "CompositeExplicitAutograd")
_LIBRARY.impl("pair_forward", _Differentiable.apply, "Autograd")
_LIBRARY.impl("pair_backward", _Once.apply, "Autograd")
torch.library.register_fake("dmlkernels::pair_forward", _fake_forward, lib=_LIBRARY)
torch.library.register_fake("dmlkernels::pair_backward", _fake_backward, lib=_LIBRARY)
pair_forward = torch.ops.dmlkernels.pair_forward.default
pair_backward = torch.ops.dmlkernels.pair_backward.default
