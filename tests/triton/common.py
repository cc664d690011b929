"""A statistic of random pairs, through the kernels and through the torch backend in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from dmlkernels import backends
from dmlkernels.backends.pairs import Pairs
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

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FIELD = (3.0, 0.9, 1.2, 1e-2, 1.0)  # radii that many pairs are within and many are not


def forget_schedules() -> None:
    """Have what is launched found out anew, after a change of what it follows from."""
    from dmlkernels.backends.triton import plan, schedule

    for function in (
        plan.forward_tiles, plan.backward_tiles, schedule.forward_schedule, schedule.backward_schedule,
        schedule.joint_schedule,
    ):  # fmt: skip
        function.cache_clear()


class Outcome(NamedTuple):
    statistics: Tensor
    rows: Tensor | None
    columns: Tensor | None


def outcome(backend: str, pairs: Pairs, gradient: Tensor) -> Outcome:
    """Forward, and backward for this upstream gradient."""
    chosen = backends.get(backend)
    forward = chosen.forward(pairs)
    gradient = gradient.to(forward.statistics.dtype)
    found = chosen.backward(pairs, forward, gradient, True, pairs.columns is not None)
    assert forward.saved.shape == chosen.saved_shape(pairs)
    return Outcome(forward.statistics, *found)


def widen(pairs: Pairs) -> Pairs:
    """The same numbers in float64."""
    columns = None if pairs.columns is None else pairs.columns.double()
    return replace(pairs, rows=pairs.rows.double(), columns=columns)


def upstream(pairs: Pairs, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (pairs.num_rows, pairs.statistic.width)
    return torch.randn(shape, dtype=torch.float64, generator=generator).to(pairs.rows.device)


def assert_agrees(pairs: Pairs, tolerance: float) -> None:
    """With the torch backend in float64, relative to the largest entry; gradients times the norm of their row."""
    gradient = upstream(pairs)
    found, true = outcome("triton", pairs, gradient), outcome("torch", widen(pairs), gradient)
    assert found.rows is not None and found.rows.dtype == pairs.rows.dtype
    assert found.columns is None or (pairs.columns is not None and found.columns.dtype == pairs.columns.dtype)
    _assert_close(found.statistics, true.statistics, tolerance)
    _assert_close(_of_units(found.rows, pairs.rows), _of_units(true.rows, pairs.rows), tolerance)
    if found.columns is not None:
        _assert_close(_of_units(found.columns, pairs.columns), _of_units(true.columns, pairs.columns), tolerance)


def _of_units(gradient: Tensor | None, raw: Tensor | None) -> Tensor:
    assert gradient is not None and raw is not None
    return gradient.double() * torch.linalg.vector_norm(raw.double(), dim=-1, keepdim=True)


def _assert_close(found: Tensor, true: Tensor, tolerance: float) -> None:
    found = found.double()
    assert torch.equal(found.isfinite(), true.isfinite())
    assert torch.equal(found[~true.isfinite()], true[~true.isfinite()])
    finite = true.isfinite()
    scale = max(1.0, true[finite].abs().max().item()) if finite.any() else 1.0
    worst = (found - true)[finite].abs().max().item() if finite.any() else 0.0
    assert worst <= tolerance * scale


class Maker:
    """Pairs of each kind from one generator."""

    def __init__(self, rows: int = 21, columns: int = 35, dim: int = 20, dtype: torch.dtype = torch.float64) -> None:
        self._generator = torch.Generator().manual_seed(rows * 10007 + columns * 101 + dim)
        self.num_rows, self.num_columns, self.dim, self.dtype = rows, columns, dim, dtype

    def normal(self, *shape: int) -> Tensor:
        made = torch.randn(shape, dtype=torch.float64, generator=self._generator)
        return made.to(DEVICE, self.dtype)

    def labels(self, count: int, classes: int, ignored: bool = True) -> Tensor:
        made = torch.randint(0, classes, (count,), generator=self._generator)
        if ignored and count > 4:
            made[count // 2] = IGNORED
        return made.to(DEVICE)

    def to_columns(self, statistic: Statistic, labelled: bool = False) -> Pairs:
        """Rows against columns."""
        groups = max(2, self.num_columns // statistic.group)
        columns = self.normal(groups * statistic.group, self.dim)
        rows = self.normal(self.num_rows, self.dim)
        if statistic.views == 2:
            return Pairs(statistic, torch.stack((rows, self.normal(self.num_rows, self.dim) + rows)), columns)
        if labelled:
            row_labels, column_labels = self.labels(self.num_rows, 5), self.labels(groups, 5, ignored=False)
            return Pairs(statistic, rows, columns, row_labels, column_labels, column_weights=self.weights(columns))
        row_labels = self.labels(self.num_rows, groups)
        return Pairs(statistic, rows, columns, row_labels, column_weights=self.weights(columns))

    def within(self, statistic: Statistic, split: int | None = None, columns: bool = False) -> Pairs:
        """Points that meet each other, and columns too if there are any."""
        atoms = self.normal(self.num_columns, self.dim) if columns else None
        return Pairs(
            statistic,
            self.normal(self.num_rows, self.dim),
            atoms,
            self.labels(self.num_rows, 6),
            column_weights=None if atoms is None else self.weights(atoms),
            within=True,
            row_boundaries=() if split is None else (split,),
        )

    def weights(self, columns: Tensor) -> Tensor:
        return torch.rand(columns.shape[0], dtype=torch.float64, generator=self._generator).to(DEVICE)


def with_row_values(pairs: Pairs) -> Pairs:
    """Scales from 5 to 15, thresholds in the middle of the scores, or above all of them in every third row."""
    place = torch.arange(pairs.num_rows, dtype=torch.float64, device=pairs.rows.device)
    threshold = torch.where(place % 3 == 1, torch.inf, 0.031 * (place % 7) - 0.1)
    margin = 0.1 + 0.01 * place
    others = (threshold, margin) if pairs.statistic.num_row_values == 3 else (margin,)
    return replace(pairs, row_values=torch.stack((5 + 10 * (0.37 * place % 1), *others), dim=1))


def every_kind(maker: Maker) -> dict[str, Pairs]:
    """Each statistic in each way that the losses use it."""
    field, fused = Field(*FIELD), Fused(*FIELD)
    points = maker.num_rows // 2
    return {
        "moments": maker.to_columns(Moments()),
        "moments_labelled": maker.to_columns(Moments(), labelled=True),
        "moments_within": maker.within(Moments()),
        "logsumexp": maker.to_columns(LogSumExp(-3.0, 18.3)),
        "logsumexp_labelled": maker.to_columns(LogSumExp(-3.0, 18.3), labelled=True),
        "field": maker.within(field, points),
        "field_alone": maker.within(field),
        "field_to_columns": maker.to_columns(field, labelled=True),
        "square": maker.to_columns(Square()),
        "divergence": maker.to_columns(Divergence(12.3, 1.0)),
        "divergence_exact": maker.to_columns(Divergence(12.3, 0.0)),
        "soft_triple": maker.to_columns(SoftTriple(20.0, 0.1, 5.0)),
        "soft_triple_one": maker.to_columns(SoftTriple(20.0, 0.1, 1.0)),
        "sub_center": maker.to_columns(SubCenter(20.0, 5.0)),
        "circle": maker.to_columns(Circle(32.0, 0.25, 0.0)),
        "row_logsumexp": with_row_values(maker.to_columns(RowLogSumExp(), labelled=True)),
        "row_sub_center": with_row_values(maker.to_columns(RowSubCenter(5.0))),
        "row_circle": with_row_values(maker.to_columns(RowCircle(0.0), labelled=True)),
        "fused": maker.within(fused, points, columns=True),
        "fused_without_atoms": maker.within(fused, points),
        "fused_to_columns": replace(
            maker.to_columns(fused, labelled=True), column_boundaries=(maker.num_columns // 2,)
        ),
    }


KINDS = tuple(every_kind(Maker(4, 4, 2)))
