"""Pairs as the kernels take them: two sets of raw vectors with reciprocal norms and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dmlkernels.backends.pairs import Pairs
from dmlkernels.backends.triton import layout
from dmlkernels.backends.triton.epilogues import Epilogue, epilogue_of
from dmlkernels.backends.triton.kernels.blocks import Layout
from dmlkernels.backends.triton.plan import Work
from dmlkernels.backends.triton.precision import is_mixed
from dmlkernels.backends.triton.saved import PADDING


class Vectors(NamedTuple):
    """One side of a launch. ``values`` are (k, at least count + PADDING): reciprocal norms, then what the epilogue
    reads."""

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


def padded(values: Sequence[Tensor], count: int, zeros: Tensor) -> Tensor:  # (k, count + PADDING)
    """Values of so many vectors and zeros behind them; the last may have none. ``zeros`` are PADDING."""
    lacking = count - min(len(value) for value in values)
    if lacking > 0:
        zeros = zeros.new_zeros(lacking + PADDING)
    pieces = [piece for value in values for piece in (value, zeros[: count - len(value) + PADDING])]
    return torch.cat(pieces).view(len(values), -1)


@dataclass(frozen=True)
class Problem:
    """Rows against columns. If ``within``, the columns begin with the rows, which are the same vectors.

    Points that meet each other are sorted by class within their segment, so that positive pairs gather in few tiles:
    ``order`` is where each came from. Of two views, the rows of the second come after those of the
    first.
    """

    epilogue: Epilogue
    rows: Tensor  # (R, D)
    columns: Tensor  # (C, D)
    row_labels: Tensor | None  # (R,)
    column_labels: Tensor | None  # (C / group,)
    weights: Tensor | None  # (C,)
    row_values: tuple[Tensor, ...]  # (R,) each, of the caller
    order: Tensor | None  # (R,)
    within: bool
    views: int
    group: int
    labelled: bool
    borders: tuple[int, int, int]
    hyper: tuple[float, ...]
    operand: torch.dtype

    @classmethod
    def of(cls, pairs: Pairs) -> Problem:
        statistic, epilogue = pairs.statistic, epilogue_of(pairs.statistic)
        if epilogue.weighted and pairs.columns is not None and pairs.column_weights is None:
            raise TypeError(f"{statistic.name} needs column_weights")
        if statistic.reads_labels and pairs.row_labels is None:
            raise TypeError(f"{statistic.name} needs row_labels")
        rows, columns, row_labels, column_labels, order = layout.lay_out(pairs)
        return cls(
            epilogue,
            rows,
            columns,
            row_labels,
            column_labels,
            layout.weights(pairs) if epilogue.weighted else None,
            layout.row_values(pairs),
            order,
            pairs.within,
            statistic.views,
            statistic.group,
            statistic.reads_labels,
            layout.borders(pairs),
            layout.split_numbers(epilogue.hyper(statistic)),
            torch.promote_types(rows.dtype, columns.dtype) if rows.dtype == columns.dtype else pairs.dtype,
        )

    @property
    def mixed(self) -> bool:
        return is_mixed(self.rows.dtype, self.columns.dtype)

    def work(self, precision: str) -> Work:
        """What tile sizes follow from."""
        return Work(self.rows.shape[1], self.operand, self.epilogue.live_tiles, self.group, precision != "ieee")

    def sides(self, norms: Tensor, values: Sequence[Tensor] = ()) -> tuple[Vectors, Vectors]:
        """Rows and columns with their values; ``values``, (R,) each, are those of rows beside the norms."""
        num_rows = self.rows.shape[0]
        weights = () if self.weights is None else (self.weights,)
        zeros = norms[-PADDING:]
        column_values = norms[None] if self.within else norms[None, num_rows:]  # padded
        row_values = norms[None]
        if self.within:
            if values or weights:
                count = self.columns.shape[0]
                column_values = padded((norms[:count], *values, *weights), count, zeros)
                row_values = column_values
        else:
            if values:
                row_values = padded((norms[:num_rows], *values), num_rows, zeros)
            if weights:
                column_values = padded((norms[num_rows:-PADDING], *weights), self.columns.shape[0], zeros)
        return (
            Vectors(self.rows, row_values, self.row_labels),
            Vectors(self.columns, column_values, self.column_labels),
        )

    def true_columns(self, norms: Tensor) -> Vectors:
        """The columns that are not rows too."""
        num_rows = self.rows.shape[0]
        values = norms[None, num_rows:]
        if self.weights is not None:
            pieces = norms[num_rows:-PADDING], self.weights[num_rows:]
            values = padded(pieces, self.columns.shape[0] - num_rows, norms[-PADDING:])
        labels = None if self.column_labels is None else self.column_labels[num_rows:]
        return Vectors(self.columns[num_rows:], values, labels)

    @property
    def layout(self) -> Layout:
        """What the kernels know of it when they are compiled."""
        return Layout(
            self.group, self.views, self.within, self.labelled, self.epilogue.segmented, self.epilogue.same_scores
        )

    @property
    def row_places(self) -> int:
        """Places of rows in tiles: views are taken eight rows at a time."""
        rows = self.rows.shape[0]
        return rows if self.views == 1 else -(-rows // 16) * 16

    def gather_statistics(self, given: Tensor) -> Tensor:  # (R, width) -> (rows, width of a state)
        """Bring per-row statistics from the caller's order into this one."""
        if self.views > 1:
            return given.unflatten(1, (-1, self.views)).permute(2, 0, 1).flatten(0, 1)
        return given if self.order is None else given.index_select(0, self.order)

    def scatter_statistics(self, found: Tensor) -> Tensor:
        """Bring them back."""
        if self.views > 1:
            return found.unflatten(0, (self.views, -1)).permute(1, 2, 0).flatten(1).contiguous()
        return self._give(found)

    def scatter_rows(self, gradient: Tensor) -> Tensor:
        """Bring a gradient of the rows back into the caller's order and shape."""
        return gradient.unflatten(0, (self.views, -1)) if self.views > 1 else self._give(gradient)

    def _give(self, per_row: Tensor) -> Tensor:
        return per_row if self.order is None else torch.empty_like(per_row).index_copy_(0, self.order, per_row)
