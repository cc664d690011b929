"""Statistics of classes of several centres each, which count as one score."""

from __future__ import annotations

from torch import Tensor

from dmlkernels.statistics.base import State, Statistic
from dmlkernels.statistics.tile import Tile


class OverClasses(Statistic):
    """Another statistic of one score for each class, which has ``group`` neighbouring centres."""

    def __init__(self, over_classes: Statistic, group: float) -> None:
        self.over_classes, self._group = over_classes, int(group)

    @property
    def group(self) -> int:
        return self._group

    def empty(self, num_rows: int, like: Tensor) -> State:
        return self.over_classes.empty(num_rows, like)

    def merge(self, first: State, second: State) -> State:
        return self.over_classes.merge(first, second)

    def row_values_gradient(self, statistics: Tensor, gradient: Tensor) -> Tensor:
        return self.over_classes.row_values_gradient(statistics, gradient)

    def by_class(self, tile: Tile) -> Tensor:  # (b, k, c)
        """The scores; a tile of groups of one comes without the middle dimension."""
        return tile.scores.view(tile.scores.shape[0], self._group, -1)
