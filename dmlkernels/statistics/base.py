"""What every statistic of the catalogue provides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from dmlkernels.statistics.tile import Tile

State = tuple[Tensor, ...]
"""A mergeable summary of a row's scores: vectors with one entry per row. Stacked they are the statistics."""


class Term(NamedTuple):
    """A statistic as part of a joint one, on a tile."""

    statistic: Statistic
    columns: slice  # of the joint statistics, and its place in the state
    for_rows: bool  # whether it counts the tile's pairs for their rows
    for_columns: bool  # the same for their columns


class Statistic(ABC):
    """A row statistic of the scores, folded tile by tile and differentiable through ``slope``.

    A statistic is immutable and is rebuilt from ``name`` and ``parameters()``: a torch custom op takes no other
    objects.

    Statistics merge, in every order and wherever the parts are: on tiles, on threads, on other ranks. Two promises:

    - The finished statistics of disjoint sets of columns, put through ``merge``, are those of all the columns. An
      ignored row has zeros instead, which are not neutral.
    - ``slope`` asks for nothing of a row but its finished statistics and their gradient. So the statistics of all the
      columns, given to backward with one part of these, give that part's share of the gradient of the rows, and the
      gradient of its columns.

    Nobody differentiates ``merge``: of a finished ``Divergence`` whose targets are not detached, for one, that would
    lose what flows through the means that it merges. Rows are independent, so parts of the rows need only be stacked.
    """

    name: ClassVar[str]
    width: ClassVar[int]  # vectors of a state, values per row
    joins: ClassVar[tuple[type[Statistic], ...]] = ()  # simple statistics that it computes from the same scores
    views: ClassVar[int] = 1  # how many score matrices it folds together
    reads_labels: ClassVar[bool] = True
    reads_weights: ClassVar[bool] = False
    num_row_values: ClassVar[int] = 0  # values that the caller gives for each row
    symmetric: ClassVar[bool] = False  # the state of a pair is the same from both ends: one visit serves both
    sparse: ClassVar[bool] = False  # the slope may be exactly zero on whole tiles: see ``flat_both``

    @property
    def group(self) -> int:
        """Columns per label: above 1, labels belong to groups of so many neighbouring columns."""
        return 1

    def parameters(self) -> list[float]:
        """Arguments that rebuild this statistic."""
        return []

    @abstractmethod
    def empty(self, num_rows: int, like: Tensor) -> State:
        """The neutral element of ``merge``."""

    @abstractmethod
    def fold(self, tile: Tile) -> State:
        """Summarise each row of a tile, which it leaves as it is."""

    @abstractmethod
    def merge(self, first: State, second: State) -> State:
        """Combine the summaries of two disjoint sets of columns."""

    def merge_parts(self, parts: Tensor) -> Tensor:  # (parts, rows, width) -> (rows, width)
        """Merge finished statistics of any number of disjoint sets of columns, neighbours first."""
        while (number := parts.shape[0]) > 1:
            half, rows = number // 2, parts.shape[1]
            first, second = (tuple(parts[i : 2 * half : 2].flatten(0, 1).unbind(1)) for i in (0, 1))
            merged = torch.stack(self.merge(first, second), dim=1).unflatten(0, (half, rows))
            parts = torch.cat((merged, parts[2 * half :]))
        return parts[0]

    @abstractmethod
    def slope(self, tile: Tile, statistics: Tensor, gradient: Tensor) -> Tensor:
        """Differentiate ``(gradient * statistics).sum()`` with respect to each score of the tile, in new memory.

        ``statistics`` and ``gradient`` are the rows of the finished statistics and of the gradient that came back.
        """

    def row_values_gradient(self, statistics: Tensor, gradient: Tensor) -> Tensor:  # (R, num_row_values)
        """Derivative of ``(gradient * statistics).sum()`` with respect to the row values, from statistics alone."""
        raise NotImplementedError(f"{self.name} has no row values")

    def terms(self, row_segment: int, column_segment: int) -> Iterator[Term]:
        """The simple statistics that this one joins, on a tile of these segments; itself if it joins none."""
        yield Term(self, slice(0, self.width), True, True)

    def meets(self, row_segment: int, column_segment: int) -> bool:
        """Whether rows of this segment are paired with columns of that one."""
        return True

    # Pairs within one set of points are visited once and serve both ends. An elementwise statistic can do both ends
    # for the price of one by overriding these two.

    def fold_both(self, tile: Tile) -> tuple[State, State]:
        """Summaries of the tile's rows and, seen from the other side, of its columns."""
        return self.fold(tile), self.fold(tile.mirror())

    def slope_both(
        self,
        tile: Tile,
        row_side: tuple[Tensor, Tensor],  # (statistics, gradient) of the rows
        column_side: tuple[Tensor, Tensor],  # the same of the columns
    ) -> Tensor:
        """Sum of the slopes from both ends of every pair."""
        from_columns = self.slope(tile.mirror(), *column_side)
        return self.slope(tile, *row_side).add_(from_columns.mT)

    def flat_both(self, tile: Tile) -> tuple[State, State] | None:
        """What ``fold_both`` gives, if the slope is exactly zero on the whole tile; else None.

        Asked of a ``sparse`` statistic only, and only on a CPU: the answer is read on the host.
        """
        return None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Statistic) and self.name == other.name and self.parameters() == other.parameters()

    def __hash__(self) -> int:
        return hash((self.name, *self.parameters()))


def finite_shift(maximum: Tensor) -> Tensor:
    """A row maximum made safe to subtract: an empty row's ``-inf`` would give ``inf - inf``."""
    return torch.where(maximum == -torch.inf, 0, maximum)


def columns_of(statistics: Tensor) -> tuple[Tensor, ...]:
    """Columns of a (rows, width) tensor as (rows, 1) slices that broadcast over a tile."""
    return statistics.split(1, dim=1)
