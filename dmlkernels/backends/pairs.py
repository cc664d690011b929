"""The one interface of every backend: compute a statistic of the scores between rows and columns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from dmlkernels.statistics import Statistic


class Shape(NamedTuple):
    """All of ``Pairs`` but their values. What is launched for them follows from it, and is remembered by it."""

    statistic: Statistic
    num_rows: int
    num_columns: int
    dim: int
    row_type: torch.dtype
    column_type: torch.dtype | None  # None: there are no columns
    dtype: torch.dtype
    has_row_labels: bool
    has_column_labels: bool
    within: bool
    mixed: bool
    row_boundaries: tuple[int, ...]
    column_boundaries: tuple[int, ...]


@dataclass(frozen=True)
class Pairs:
    """Which rows are scored against which columns.

    Each row meets every column; with ``within``, it also meets every other row, and is then a column itself: its pair
    with itself does not count, and pairs count for both ends. ``row_boundaries`` and ``column_boundaries`` say where
    joined parts (segments) begin. Column segments are numbered after the row segments if ``within``, else from 1:
    samples, proxies and atoms have the numbers 0, 1, 2 either way.
    """

    statistic: Statistic
    rows: Tensor  # (R, D) raw, or (2, R, D) for a statistic of two views
    columns: Tensor | None = None  # (C, D) raw
    row_labels: Tensor | None = None  # (R,) int64, IGNORED allowed
    column_labels: Tensor | None = None  # (C,) int64, IGNORED allowed; None: column j has class j
    column_weights: Tensor | None = None  # (C,); None: 1 / C each
    row_values: Tensor | None = None  # (R, num_row_values), for a statistic that reads them; not ``within``
    within: bool = False
    mixed: bool = False  # rows were joined of halves and float32: see autocast.py
    row_boundaries: tuple[int, ...] = ()
    column_boundaries: tuple[int, ...] = ()

    @property
    def num_rows(self) -> int:
        return self.rows.shape[-2]

    @property
    def num_columns(self) -> int:
        return 0 if self.columns is None else self.columns.shape[0]

    @property
    def dim(self) -> int:
        return self.rows.shape[-1]

    @property
    def dtype(self) -> torch.dtype:
        """Accumulation dtype: float32, or float64 if an operand is float64."""
        dtype = torch.promote_types(self.rows.dtype, torch.float32)
        return dtype if self.columns is None else torch.promote_types(dtype, self.columns.dtype)

    @cached_property
    def shape(self) -> Shape:
        """All but the values."""
        return Shape(
            self.statistic, self.num_rows, self.num_columns, self.dim,
            self.rows.dtype, None if self.columns is None else self.columns.dtype, self.dtype,
            self.row_labels is not None, self.column_labels is not None,
            self.within, self.mixed, self.row_boundaries, self.column_boundaries,
        )  # fmt: skip

    def weights(self, start: int, stop: int) -> Tensor | None:  # (stop - start,)
        """Weights of some columns in the accumulation dtype; None for a statistic that reads none."""
        if not self.statistic.reads_weights or self.columns is None:
            return None
        if self.column_weights is None:
            return self.columns.new_full((stop - start,), 1 / self.num_columns, dtype=self.dtype)
        return self.column_weights[start:stop].to(self.dtype)


class Forward(NamedTuple):
    """``statistics`` (R, width), zero for ignored rows; ``saved``, whatever the backend wants back in backward."""

    statistics: Tensor
    saved: Tensor


class Gradients(NamedTuple):
    """Gradients of rows and columns, in their dtypes; None where not needed."""

    rows: Tensor | None
    columns: Tensor | None


class Solver(Protocol):
    """Compute the statistics of pairs and their gradients. Output shapes must follow from input shapes alone."""

    def saved_shape(self, pairs: Pairs) -> tuple[int, ...]: ...

    def forward(self, pairs: Pairs) -> Forward: ...

    def backward(
        self,
        pairs: Pairs,
        forward: Forward,
        gradient: Tensor,  # (R, width)
        needs_rows: bool,
        needs_columns: bool,
    ) -> Gradients: ...


class Backend(Solver, Protocol):
    """A solver that the ops look up by name."""

    def supports(self, statistic: str) -> bool:
        """Whether the backend has the statistic of this name."""
        ...
