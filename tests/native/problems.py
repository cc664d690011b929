"""Problems for each statistic, of sizes that leave no edge of the engine's slivers, packs and stretches untouched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dmlkernels.ops import pair_statistics
from dmlkernels.statistics import (
    IGNORED,
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

# (rows, columns, dim): one of each; odd sizes; more than one stretch of 512; several row blocks; several column blocks.
SIZES = ((1, 1, 1), (5, 7, 3), (13, 33, 17), (40, 530, 24), (1500, 70, 9), (30, 1100, 600))

_FIELD = Field(3.0, 0.9, 1.2, 1e-2, 1.0)  # radii at which most pairs act


@dataclass(frozen=True)
class Drawn:
    """Random vectors and labels."""

    rows: Tensor
    columns: Tensor
    row_labels: Tensor
    column_labels: Tensor
    column_weights: Tensor
    others: Tensor  # a second view of the rows


def draw(rows: int, columns: int, dim: int, dtype: torch.dtype) -> Drawn:
    generator = torch.Generator().manual_seed(rows + columns)
    classes = max(2, columns // 3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    return Drawn(
        normal(rows, dim),
        normal(columns, dim),
        torch.randint(0, classes, (rows,), generator=generator),
        torch.randint(0, classes, (columns,), generator=generator),
        torch.rand(columns, generator=generator, dtype=torch.float64).to(dtype),
        normal(rows, dim),
    )


Problem = tuple[Statistic, Tensor, Tensor | None, dict[str, Any]]


def _some_ignored(labels: Tensor) -> Tensor:
    return labels.where(torch.arange(labels.shape[0]) % 4 != 1, IGNORED)


def _labelled(statistic: Statistic, d: Drawn) -> Problem:
    return statistic, d.rows, d.columns, {"row_labels": d.row_labels, "column_labels": d.column_labels}


def _with_row_values(statistic: Statistic, d: Drawn) -> Problem:
    """Scales from 4 to 8 and thresholds in the middle of the scores, or above all of them in every third row."""
    place = torch.arange(d.rows.shape[0]).to(d.rows.dtype)
    threshold = torch.where(place % 3 == 1, torch.inf, 0.031 * (place % 7) - 0.1)
    margin = 0.1 + 0.01 * (place % 9)
    values = (4 + 4 * (0.37 * place % 1), *((threshold, margin) if statistic.num_row_values == 3 else (margin,)))
    labels = {"row_labels": _some_ignored(d.row_labels), "column_labels": d.column_labels}
    return statistic, d.rows, d.columns, {**labels, "row_values": torch.stack(values, dim=1)}


def _within(statistic: Statistic, d: Drawn, columns: Tensor | None = None, **arguments: Any) -> Problem:
    labels = {"row_labels": _some_ignored(d.row_labels), "row_boundaries": [d.rows.shape[0] // 2]}
    return statistic, d.rows, columns, {"within": True, **labels, **arguments}


def _two_views(detach: float, d: Drawn) -> Problem:
    return Divergence(10.0, detach), torch.stack((d.rows, d.rows + 0.3 * d.others)), d.columns, {}


def _grouped(statistic: Statistic, d: Drawn) -> Problem:
    group = statistic.group
    classes = max(1, d.columns.shape[0] // group)
    columns = d.columns if d.columns.shape[0] >= group else d.columns.expand(group, -1)
    return statistic, d.rows, columns[: classes * group], {"row_labels": d.row_labels % classes}


def _grouped_with_row_values(statistic: Statistic, d: Drawn) -> Problem:
    _, rows, columns, labels = _grouped(statistic, d)
    return statistic, rows, columns, {**labels, "row_values": _with_row_values(statistic, d)[3]["row_values"]}


def _far_labels(d: Drawn) -> Problem:
    far = {"row_labels": d.row_labels * 10**12 - 5, "column_labels": d.column_labels * 10**12 - 5}
    return LogSumExp(64.0, 64.0), d.rows, d.columns, far


def _half_far_labels(d: Drawn) -> Problem:
    """Column labels that equal a row's only in their low 32 bits."""
    labels = {"row_labels": d.row_labels, "column_labels": d.column_labels + 2**32 * (d.column_labels % 2)}
    return LogSumExp(4.0, 4.0), d.rows, d.columns, labels


PROBLEMS: dict[str, Callable[[Drawn], Problem]] = {
    "logsumexp": lambda d: _labelled(LogSumExp(-32.0, 32.0), d),
    "logsumexp_plain_labels": lambda d: (
        LogSumExp(5.0, 7.0), d.rows, d.columns, {"row_labels": d.row_labels % d.columns.shape[0]},
    ),
    "logsumexp_far_labels": _far_labels,
    "logsumexp_half_far_labels": _half_far_labels,
    "logsumexp_within": lambda d: _within(LogSumExp(3.0, 4.0), d),
    "divergence": lambda d: _two_views(0.0, d),
    "divergence_detached": lambda d: _two_views(1.0, d),
    "field": lambda d: _labelled(_FIELD, d),
    "field_within": lambda d: _within(_FIELD, d),
    "field_sparse": lambda d: _within(Field(2.5, 0.2, 0.2, 1e-2, 0.0), d),
    "field_within_and_columns": lambda d: _within(_FIELD, d, d.columns, column_labels=d.column_labels),
    "moments": lambda d: _labelled(Moments(), d),
    "moments_within": lambda d: _within(Moments(), d),
    "circle": lambda d: _labelled(Circle(32.0, 0.25, 1.0), d),
    "circle_exact": lambda d: _labelled(Circle(8.0, 0.25, 0.0), d),
    "row_circle": lambda d: _with_row_values(RowCircle(1.0), d),
    "row_circle_exact": lambda d: _with_row_values(RowCircle(0.0), d),
    "row_logsumexp": lambda d: _with_row_values(RowLogSumExp(), d),
    "row_sub_center": lambda d: _grouped_with_row_values(RowSubCenter(3), d),
    "square": lambda d: (Square(), d.rows, d.columns, {"column_weights": d.column_weights}),
    "fused": lambda d: _within(Fused(*_FIELD.parameters()), d, d.columns, column_weights=d.column_weights),
    "soft_triple": lambda d: _grouped(SoftTriple(20.0, 0.1, 3), d),
    "soft_triple_of_one": lambda d: _grouped(SoftTriple(20.0, 0.1, 1), d),
    "sub_center": lambda d: _grouped(SubCenter(20.0, 3), d),
    "sub_center_of_one": lambda d: _grouped(SubCenter(20.0, 1), d),
}  # fmt: skip


def run(problem: Problem, backend: str) -> list[Tensor]:
    """Statistics and the gradients of rows and columns for a random upstream gradient."""
    statistic, rows, columns, arguments = problem
    leaves = [x.clone().requires_grad_() for x in (rows, columns) if x is not None]
    statistics = pair_statistics(statistic, *leaves, backend=backend, **arguments)
    generator = torch.Generator().manual_seed(0)
    upstream = torch.randn(statistics.shape, generator=generator, dtype=torch.float64).to(statistics.dtype)
    # Empty sums of exponentials are -inf and have no gradient.
    gradients = torch.autograd.grad(statistics, leaves, upstream.where(statistics.isfinite(), 0))
    return [statistics.detach(), *gradients]
