"""Pairs as the kernels take them: two sets of raw vectors with reciprocal norms and labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from torch import Tensor

from dmlkernels.backends.gpu.layout import unit_stride
from dmlkernels.backends.gpu.splits import cdiv
from dmlkernels.backends.pairs import Forward, Pairs
from dmlkernels.backends.triton import layout
from dmlkernels.backends.triton.epilogues import Epilogue, epilogue_of
from dmlkernels.backends.triton.kernels.blocks import Layout
from dmlkernels.backends.triton.kernels.values import values_kernel
from dmlkernels.backends.triton.plan import copy_tiles
from dmlkernels.backends.triton.saved import Saved, split


class Vectors(NamedTuple):
    """One side of a launch. ``values`` are (k, pitch): reciprocal norms, then what the epilogue reads, and zeros behind
    them."""

    vectors: Tensor  # (count, D)
    values: Tensor
    labels: Tensor | None

    @property
    def size(self) -> int:
        return self.vectors.shape[0]

    @property
    def stride(self) -> int:
        return self.vectors.stride(0)


def strides(first: Vectors, second: Vectors) -> tuple[int, int, int, int]:
    """Of the vectors and of the values, as the kernels take them."""
    return first.stride, second.stride, first.values.stride(0), second.values.stride(0)


@dataclass(frozen=True)
class Problem:
    """Rows against columns. If ``within``, the columns begin with the rows, which are the same vectors.

    Points that meet each other are sorted by class within their segment, so that positive pairs gather in few tiles.
    Of two views, the rows of the second come after those of the first.
    """

    pairs: Pairs
    saved: Saved
    points: Tensor | None  # (R + C, D) if ``within``, in their order; backward fills them in

    @classmethod
    def prepare(cls, pairs: Pairs, saved: Tensor, precision: str) -> Problem:
        """For forward, which fills ``saved``; ``precision`` is that of its scores."""
        statistic = pairs.statistic
        if statistic.reads_labels and pairs.row_labels is None:
            raise TypeError(f"{statistic.name} needs row_labels")
        parts = split(pairs, saved)
        return cls(pairs, parts, layout.prepare(pairs, parts, precision == "tf32"))

    @classmethod
    def restore(cls, pairs: Pairs, forward: Forward, gradient: Tensor) -> tuple[Problem, Tensor]:
        """For backward; and the values that it reads of each row, after the norms."""
        points = layout.empty_points(pairs) if pairs.within else None
        problem = cls(pairs, split(pairs, forward.saved.contiguous()), points)
        return problem, problem._values(forward.statistics.contiguous(), gradient)

    def _values(self, statistics: Tensor, gradient: Tensor) -> Tensor:
        """One launch for everything that is a function of a row; points are also copied, in their order."""
        pairs, epilogue = self.pairs, self.epilogue
        given, weighted = pairs.statistic.num_row_values, pairs.within and epilogue.weighted
        kept = self.saved.columns if self.saved.rows is None else self.saved.rows
        values = kept.new_empty(1 + given + epilogue.num_values + weighted, kept.shape[1])
        rows, columns = unit_stride(pairs.rows), None if pairs.columns is None else unit_stride(pairs.columns)
        m, block_d = copy_tiles(pairs.dim) if pairs.within else (128, 1)
        total = pairs.num_rows + pairs.num_columns
        values_kernel[(cdiv(kept.shape[1] - pairs.num_rows * (pairs.statistic.views - 1), m),)](
            statistics, gradient, kept, self.saved.order, *((rows, columns) if pairs.within else (None, None)), values,
            self.points, pairs.num_rows, total, kept.shape[1], layout.point_strides(rows, columns), self.hyper,
            FROM=epilogue.values, WIDTH=pairs.statistic.width, COUNT=epilogue.num_values, GIVEN=given,
            WEIGHTED=weighted, VIEWS=pairs.statistic.views, DIM=pairs.dim, M=m, BLOCK_D=block_d,
            **layout.FUSED_MULTIPLY_ADD,
        )  # fmt: skip
        return values

    @property
    def epilogue(self) -> Epilogue:
        return epilogue_of(self.pairs.statistic)

    @cached_property
    def hyper(self) -> tuple[float, ...]:
        """Numbers of the statistic."""
        return layout.split_numbers(tuple(self.epilogue.hyper(self.pairs.statistic)))

    @cached_property
    def vectors(self) -> tuple[Tensor, Tensor]:
        """Raw rows and columns."""
        if self.points is not None:
            return self.points[: self.pairs.num_rows], self.points
        assert self.pairs.columns is not None
        return unit_stride(self.pairs.rows.flatten(0, -2)), unit_stride(self.pairs.columns)

    @property
    def group(self) -> int:
        return self.pairs.statistic.group

    @property
    def views(self) -> int:
        return self.pairs.statistic.views

    @property
    def borders(self) -> tuple[int, int, int]:
        return layout.borders(self.pairs)

    def sides(self, row_values: Tensor | None = None) -> tuple[Vectors, Vectors]:
        """Rows and columns with their values; ``row_values`` are those of backward."""
        rows, columns = self.vectors
        column_values = self.saved.columns
        if self.pairs.within:
            labels = self.saved.labels
            values = column_values if row_values is None else row_values
            assert labels is not None
            return Vectors(rows, values, labels[: self.pairs.num_rows]), Vectors(columns, values, labels)
        assert self.saved.rows is not None
        given = self.pairs.column_labels if self.pairs.statistic.reads_labels else None
        row_labels = self.pairs.row_labels if self.saved.labels is None else self.saved.labels
        values = self.saved.rows if row_values is None else row_values
        return Vectors(rows, values, row_labels), Vectors(columns, column_values, given)

    def true_columns(self) -> Vectors:
        """The columns that are not rows too."""
        num_rows, labels = self.pairs.num_rows, self.saved.labels
        assert self.points is not None and labels is not None
        values, labels = self.saved.columns[:, num_rows:], labels[num_rows:]
        if num_rows % 4:  # not at 16 bytes, for which the kernel would be compiled again
            values, labels = self.saved.columns.roll(-num_rows, 1), labels.clone()
        return Vectors(self.points[num_rows:], values, labels)

    @property
    def layout(self) -> Layout:
        """What the kernels know of it when they are compiled."""
        epilogue = self.epilogue
        return Layout(
            self.group, self.views, self.pairs.within, self.pairs.statistic.reads_labels, epilogue.segmented,
            epilogue.same_scores,
        )  # fmt: skip

    @property
    def row_places(self) -> int:
        """Places of rows in tiles: views are taken eight rows at a time."""
        rows = self.pairs.num_rows * self.views
        return rows if self.views == 1 else -(-rows // 16) * 16
