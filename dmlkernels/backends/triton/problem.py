"""Pairs as the kernels take them: two sets of raw vectors with reciprocal norms and labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from dmlkernels.backends.formulas import LossGradient
from dmlkernels.backends.gpu.layout import unit_stride
from dmlkernels.backends.gpu.splits import cdiv
from dmlkernels.backends.pairs import Forward, Pairs, Shape
from dmlkernels.backends.triton import layout
from dmlkernels.backends.triton.epilogues import epilogue_of
from dmlkernels.backends.triton.formulas.slopes import slopes_of
from dmlkernels.backends.triton.kernels.values import values_kernel
from dmlkernels.backends.triton.labels import RawLabels
from dmlkernels.backends.triton.launcher import Constants, constants_of, launch
from dmlkernels.backends.triton.parts import empty_parts
from dmlkernels.backends.triton.plan import REMEMBERED, copy_tiles, norm_tiles
from dmlkernels.backends.triton.saved import Saved, split
from dmlkernels.backends.triton.schedule import Plan, hyper_of
from dmlkernels.backends.triton.work import operand_of


class Vectors(NamedTuple):
    """One side of a launch. ``values`` are (k, pitch): reciprocal norms, then what the epilogue reads, and zeros behind
    them."""

    vectors: Tensor  # (count, D)
    values: Tensor
    labels: Tensor | None
    parts: Tensor | None = None  # (count, k * D): parts of the unit vectors, if these are multiplied

    @property
    def size(self) -> int:
        return self.vectors.shape[0]

    @property
    def stride(self) -> int:
        return self.vectors.stride(0)

    @property
    def factors(self) -> Tensor:
        """What is multiplied."""
        return self.vectors if self.parts is None else self.parts

    @property
    def raw(self) -> Tensor | None:
        """The vectors, where something else is multiplied."""
        return None if self.parts is None else self.vectors


def strides(first: Vectors, second: Vectors) -> tuple[int, int, int, int]:
    """Of what is multiplied and of the values, as the kernels take them."""
    return first.factors.stride(0), second.factors.stride(0), first.values.stride(0), second.values.stride(0)


@dataclass(frozen=True)
class Problem:
    """Rows against columns. If ``within``, the columns begin with the rows, which are the same vectors.

    Points that meet each other are sorted by class within their segment, so that positive pairs gather in few tiles.
    Of two views, the rows of the second come after those of the first.
    """

    pairs: Pairs
    saved: Saved
    points: Tensor | None  # (R + C, D) if ``within``, in their order; backward fills them in
    parts: layout.Parts | None = None  # of unit rows and columns, if these are multiplied

    @classmethod
    def prepare(cls, pairs: Pairs, saved: Tensor, plan: Plan, raw: RawLabels | None = None) -> Problem:
        """For forward, which fills ``saved``, and ``raw`` labels."""
        statistic = pairs.statistic
        if statistic.reads_labels and pairs.row_labels is None:
            raise TypeError(f"{statistic.name} needs row_labels")
        kept, parts = split(pairs.shape, saved), empty_parts(pairs, plan.parts)
        return cls(pairs, kept, layout.prepare(pairs, kept, plan.cut, parts, raw), parts)

    @classmethod
    def restore(
        cls, pairs: Pairs, forward: Forward, gradient: Tensor | LossGradient, plan: Plan, memory: Tensor | None
    ) -> tuple[Problem, Tensor]:
        """For backward; and the values that it reads of each row, after the norms. ``memory``, if there is one, is that
        of the columns' gradient, and may hold their parts until then."""
        points = layout.empty_points(pairs) if pairs.within else None
        kept = split(pairs.shape, forward.saved.contiguous())
        problem = cls(pairs, kept, points, empty_parts(pairs, plan.parts, memory))
        return problem, problem._values(forward.statistics.contiguous(), gradient)

    def _values(self, statistics: Tensor, gradient: Tensor | LossGradient) -> Tensor:
        """One launch for everything that is a function of a row, or of a vector alone; points are also copied, in their
        order."""
        pairs, parts = self.pairs, self.parts or (None, None)
        kept = self.saved.columns if self.saved.rows is None else self.saved.rows
        rows, columns = unit_stride(pairs.rows), None if pairs.columns is None else unit_stride(pairs.columns)
        strides = (*layout.point_strides(rows, columns), *layout.part_strides(self.parts))
        num_parts = layout.num_parts(self.parts, pairs.dim)
        slopes = slopes_of(gradient, pairs.statistic.width)
        grid, height, hyper, constants = _values_launch(pairs.shape, kept.shape[1], num_parts, slopes.constants)
        values = kept.new_empty(height, kept.shape[1])
        launch(
            values_kernel, grid,
            statistics, slopes.gradient, slopes.formula, slopes.of_values, kept, self.saved.order,
            *((rows, columns) if pairs.within or num_parts else (None, None)), values, self.points,
            parts[0], self.saved.columns if num_parts else None, parts[1],
            pairs.num_rows, pairs.num_rows + pairs.num_columns, kept.shape[1], strides, hyper, slopes.numbers,
            constants=constants,
        )  # fmt: skip
        return values

    @cached_property
    def vectors(self) -> tuple[Tensor, Tensor]:
        """Raw rows and columns."""
        if self.points is not None:
            return self.points[: self.pairs.num_rows], self.points
        assert self.pairs.columns is not None
        return unit_stride(self.pairs.rows.flatten(0, -2)), unit_stride(self.pairs.columns)

    def sides(self, row_values: Tensor | None = None) -> tuple[Vectors, Vectors]:
        """Rows and columns with their values; ``row_values`` are those of backward."""
        rows, columns = self.vectors
        column_values, parts = self.saved.columns, self.parts or (None, None)
        if self.pairs.within:
            labels = self.saved.labels
            values = column_values if row_values is None else row_values
            assert labels is not None
            of_rows = Vectors(rows, values, labels[: self.pairs.num_rows], parts[0])
            return of_rows, Vectors(columns, values, labels, parts[1])
        assert self.saved.rows is not None
        given = self.pairs.column_labels if self.pairs.statistic.reads_labels else None
        row_labels = self.pairs.row_labels if self.saved.labels is None else self.saved.labels
        values = self.saved.rows if row_values is None else row_values
        return Vectors(rows, values, row_labels, parts[0]), Vectors(columns, column_values, given, parts[1])

    def true_columns(self) -> Vectors:
        """The columns that are not rows too."""
        num_rows, labels = self.pairs.num_rows, self.saved.labels
        assert self.points is not None and labels is not None
        values, labels = self.saved.columns[:, num_rows:], labels[num_rows:]
        if num_rows % 4:  # not at 16 bytes, for which the kernel would be compiled again
            values, labels = self.saved.columns.roll(-num_rows, 1), labels.clone()
        return Vectors(self.points[num_rows:], values, labels)


@lru_cache(maxsize=REMEMBERED)
def _values_launch(
    shape: Shape, pitch: int, parts: int, slopes: Constants
) -> tuple[tuple[int], int, tuple[float, ...], Constants]:
    """Grid of the launch, how many values there are, numbers of the statistic, and constants."""
    statistic, epilogue = shape.statistic, epilogue_of(shape.statistic)
    weighted = shape.within and epilogue.weighted
    m, block_d = copy_tiles(shape.dim) if shape.within else (128, 1)
    split_m, split_d = norm_tiles(shape.dim)
    constants = constants_of({
        "FROM": epilogue.values, "WIDTH": statistic.width, "COUNT": epilogue.num_values,
        "GIVEN": statistic.num_row_values, "WEIGHTED": weighted, "VIEWS": statistic.views, "DIM": shape.dim,
        "BOUND": epilogue.bound, "M": m, "BLOCK_D": block_d,
        "PARTS": parts, "SCALED": operand_of(shape) == torch.float16, "SPLIT_M": split_m, "SPLIT_D": split_d, **slopes,
    })  # fmt: skip
    blocks = cdiv(pitch - shape.num_rows * (statistic.views - 1), m)
    if parts:
        blocks += cdiv(shape.num_rows, split_m) + cdiv(shape.num_columns, split_m)
    height = 1 + statistic.num_row_values + epilogue.num_values + weighted + (epilogue.bound is not None)
    return (blocks,), height, hyper_of(shape), constants
