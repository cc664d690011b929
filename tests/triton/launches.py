"""The launches that ship, at named sizes, on tensors without memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from dmlkernels.backends.formulas import Loss, memory
from dmlkernels.backends.pairs import Pairs
from dmlkernels.backends.triton import launch
from dmlkernels.backends.triton.plan import LARGEST_GROUP, Architecture
from dmlkernels.statistics import (
    Circle,
    Divergence,
    Field,
    Fused,
    LogSumExp,
    Moments,
    RowCircle,
    RowLogSumExp,
    RowSubCenter,
    SoftTriple,
    Square,
    Statistic,
    SubCenter,
)
from tests.triton.compiling import TARGETS, Compiled, compiled

MOST_CENTERS = "soft_triple, most centers"
FIELD = (3.0, 0.2, 0.2, 1e-2, 1.0)


def _meta(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _labels(count: int) -> Tensor:
    return _meta(count, dtype=torch.int64)


Make = Callable[[Tensor, Tensor], Pairs]  # of rows (R, D) and columns (C, D)


def _to_columns(rows: Tensor, columns: Tensor, statistic: Statistic, labelled: bool = False) -> Pairs:
    if statistic.views == 2:
        return Pairs(statistic, rows.expand(2, *rows.shape), columns)
    labels = _labels(columns.shape[0] // statistic.group) if labelled else None
    weights = _meta(columns.shape[0], dtype=torch.float32)
    pairs = Pairs(statistic, rows, columns, _labels(rows.shape[0]), labels, weights)
    if statistic.num_row_values == 0:
        return pairs
    return replace(pairs, row_values=_meta(rows.shape[0], statistic.num_row_values, dtype=pairs.dtype))


def _within(rows: Tensor, columns: Tensor, statistic: Statistic, atoms: bool = False) -> Pairs:
    """Rows and columns are points all; atoms are as many as columns."""
    points = rows.shape[0] + columns.shape[0]
    return Pairs(
        statistic,
        rows.new_empty(points, rows.shape[1]),
        columns if atoms else None,
        _labels(points),
        column_weights=_meta(columns.shape[0], dtype=torch.float32) if atoms else None,
        within=True,
        row_boundaries=(rows.shape[0],),
    )


KINDS: dict[str, Make] = {
    "moments": partial(_to_columns, statistic=Moments()),
    "moments of points": partial(_within, statistic=Moments()),
    "logsumexp": partial(_to_columns, statistic=LogSumExp(18.0, 18.0)),
    "logsumexp, labels given": partial(_to_columns, statistic=LogSumExp(18.0, 18.0), labelled=True),
    "square": partial(_to_columns, statistic=Square()),
    "divergence": partial(_to_columns, statistic=Divergence(10.0, 1.0)),
    "soft_triple": partial(_to_columns, statistic=SoftTriple(20.0, 0.1, 10.0)),
    MOST_CENTERS: partial(_to_columns, statistic=SoftTriple(20.0, 0.1, float(LARGEST_GROUP))),
    "sub_center": partial(_to_columns, statistic=SubCenter(64.0, 4.0)),
    "circle": partial(_to_columns, statistic=Circle(80.0, 0.4, 1.0)),
    "row_logsumexp": partial(_to_columns, statistic=RowLogSumExp()),
    "row_sub_center": partial(_to_columns, statistic=RowSubCenter(4.0)),
    "row_circle": partial(_to_columns, statistic=RowCircle(1.0)),
    "field": partial(_within, statistic=Field(*FIELD)),
    "field at points": partial(_to_columns, statistic=Field(*FIELD), labelled=True),
    "fused": partial(_within, statistic=Fused(*FIELD), atoms=True),
}


def make_pairs(
    kind: str, dtype: torch.dtype, dim: int, rows: int, columns: int, column_dtype: torch.dtype | None = None
) -> Pairs:
    """Of this many rows and columns, or points, without memory."""
    return KINDS[kind](_meta(rows, dim, dtype=dtype), _meta(columns, dim, dtype=column_dtype or dtype))


def make_loss(pairs: Pairs) -> Loss:
    """The mean of a formula of their statistics; the longest, of moments and of log-sum-exps."""
    kind = type(pairs.statistic)
    numbers: tuple[float, ...] = (1.0,) * 5
    if kind in (Fused, Moments):
        formula = "fused_neg_log" if kind is Fused else "decidability_neg_log"
        numbers += (1.0,) * 4
    elif kind in (Circle, RowCircle):
        formula, numbers = "joint", ()
    else:
        formula = "angle" if pairs.statistic.width == 2 else "last"
    made = memory(formula, pairs.rows, pairs.dtype)
    poison = _meta(dtype=torch.float32)
    return Loss(formula, numbers, None, None, pairs.row_labels, None, poison, True, *made)


def launch_both(pairs: Pairs, arch: Architecture) -> None:
    """Forward to a loss, and backward to whatever can have a gradient."""
    forward = launch.forward(pairs, arch, loss=make_loss(pairs))
    gradient = torch.empty_like(forward.statistics)
    launch.backward(pairs, forward, gradient, True, pairs.columns is not None, arch)


def compile_launches(
    kind: str,
    target: str,
    dtype: torch.dtype,
    dim: int,
    rows: int = 512,
    columns: int = 11_520,
    column_dtype: torch.dtype | None = None,
) -> list[Compiled]:
    """Every kernel of forward and backward of this kind."""
    pairs = make_pairs(kind, dtype, dim, rows, columns, column_dtype)
    arch = TARGETS[target][1]
    with compiled(target) as found:
        launch_both(pairs, arch)
    return found
