"""Pairs as the kernels take them: two sets of raw vectors with reciprocal norms and labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dmlkernels.backends.pairs import Pairs
from dmlkernels.backends.triton import layout
from dmlkernels.backends.triton.epilogues import Epilogue, epilogue_of
from dmlkernels.backends.triton.plan import Work
from dmlkernels.backends.triton.precision import is_mixed


class Vectors(NamedTuple):
    """One side of a launch. ``numbers`` are (k, count): reciprocal norms, then what the epilogue reads."""

    vectors: Tensor  # (count, D)
    numbers: Tensor
    labels: Tensor | None

    @property
    def size(self) -> int:
        return self.vectors.shape[0]

    @property
    def stride(self) -> int:
        return self.vectors.stride(0)


@dataclass(frozen=True)
class Problem:
    """Rows against columns. If ``within``, the columns begin with the rows, which are the same vectors.

    Points that meet each other are sorted by class within their segment, so that positive pairs gather in few tiles:
    ``order`` is where each came from. Two views of a row lie one after the other.
    """

    epilogue: Epilogue
    rows: Tensor  # (R, D)
    columns: Tensor  # (C, D)
    row_labels: Tensor | None  # (R,)
    column_labels: Tensor | None  # (C / group,)
    weights: Tensor | None  # (C,)
    order: Tensor | None  # (R,)
    within: bool
    views: int
    group: int
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
            order,
            pairs.within,
            statistic.views,
            statistic.group,
            layout.borders(pairs),
            layout.split_numbers(epilogue.hyper(statistic)),
            torch.promote_types(rows.dtype, columns.dtype) if rows.dtype == columns.dtype else pairs.dtype,
        )

    @property
    def mixed(self) -> bool:
        return is_mixed(self.rows.dtype, self.columns.dtype)

    def work(self) -> Work:
        """What tile sizes follow from."""
        return Work(self.rows.shape[1], self.operand, self.epilogue.live_tiles, self.group)

    def sides(self, norms: Tensor, values: Tensor | None = None) -> tuple[Vectors, Vectors]:
        """Rows and columns with their numbers; ``values`` (k, R) are the epilogue's for backward."""
        num_rows = self.rows.shape[0]
        row_norms = norms[None, :num_rows]
        column_norms = norms[None] if self.within else norms[None, num_rows:]
        weights = () if self.weights is None else (self.weights[None],)
        if values is None:
            row_numbers, column_numbers = row_norms, torch.cat((column_norms, *weights)) if weights else column_norms
        elif self.within:
            padding = values.new_zeros(values.shape[0], self.columns.shape[0] - num_rows)
            column_numbers = torch.cat((column_norms, torch.cat((values, padding), dim=1), *weights))
            row_numbers = column_numbers[:, :num_rows].contiguous()
        else:
            row_numbers, column_numbers = torch.cat((row_norms, values)), torch.cat((column_norms, *weights))
        return (
            Vectors(self.rows, row_numbers, self.row_labels),
            Vectors(self.columns, column_numbers, self.column_labels),
        )

    def true_columns(self, norms: Tensor) -> Vectors:
        """The columns that are not rows too."""
        num_rows = self.rows.shape[0]
        numbers = norms if self.weights is None else torch.stack((norms, self.weights))
        labels = None if self.column_labels is None else self.column_labels[num_rows:]
        return Vectors(self.columns[num_rows:], numbers[..., num_rows:].contiguous(), labels)

    def gather_statistics(self, given: Tensor) -> Tensor:  # (R, width) -> (rows, width of a state)
        """Bring per-row statistics from the caller's order into this one."""
        if self.views > 1:
            return given.unflatten(1, (-1, self.views)).transpose(1, 2).reshape(-1, given.shape[1] // self.views)
        return given if self.order is None else given.index_select(0, self.order)

    def scatter_statistics(self, found: Tensor) -> Tensor:
        """Bring them back."""
        if self.views > 1:
            return found.unflatten(0, (-1, self.views)).transpose(1, 2).flatten(1).contiguous()
        return self._give(found)

    def scatter_rows(self, gradient: Tensor) -> Tensor:
        """Bring a gradient of the rows back into the caller's order and shape."""
        if self.views > 1:
            return gradient.unflatten(0, (-1, self.views)).transpose(0, 1).contiguous()
        return self._give(gradient)

    def _give(self, per_row: Tensor) -> Tensor:
        return per_row if self.order is None else torch.empty_like(per_row).index_copy_(0, self.order, per_row)
