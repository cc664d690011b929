"""Log-sum-exp over classes of several centres each, of which the nearest counts (SubCenter-ArcFace)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dmlkernels.statistics.base import State, Statistic
from dmlkernels.statistics.logsumexp import LogSumExp
from dmlkernels.statistics.row_logsumexp import RowLogSumExp
from dmlkernels.statistics.tile import Tile


class SubCenter(Statistic):
    """LogSumExp of S_c = max_k s_ck, with ``group`` centres per class; of equal ones the first has the slope."""

    name = "sub_center"
    width = 2

    _over_classes: LogSumExp | RowLogSumExp

    def __init__(self, scale: float, group: float) -> None:
        self.scale, self._group = scale, int(group)
        self._over_classes = LogSumExp(scale, scale)

    @property
    def group(self) -> int:
        return self._group

    def parameters(self) -> list[float]:
        return [self.scale, self._group]

    def empty(self, num_rows: int, like: Tensor) -> State:
        return self._over_classes.empty(num_rows, like)

    def fold(self, tile: Tile) -> State:
        return self._over_classes.fold(replace(tile, scores=self._by_class(tile).amax(1)))

    def merge(self, first: State, second: State) -> State:
        return self._over_classes.merge(first, second)

    def slope(self, tile: Tile, statistics: Tensor, gradient: Tensor) -> Tensor:
        scores = self._by_class(tile)
        nearest = scores.argmax(1, keepdim=True)
        of_classes = replace(tile, scores=scores.gather(1, nearest)[:, 0])
        class_slope = self._over_classes.slope(of_classes, statistics, gradient)
        return torch.zeros_like(scores).scatter_(1, nearest, class_slope[:, None])

    def _by_class(self, tile: Tile) -> Tensor:  # (b, k, c)
        """The scores; a tile of groups of one comes without the middle dimension."""
        return tile.scores.view(tile.scores.shape[0], self._group, -1)


class RowSubCenter(SubCenter):
    """RowLogSumExp of S_c, with its row values and means."""

    name = "row_sub_center"
    width = RowLogSumExp.width
    num_row_values = RowLogSumExp.num_row_values

    def __init__(self, group: float) -> None:
        self._group = int(group)
        self._over_classes = RowLogSumExp()

    def parameters(self) -> list[float]:
        return [self._group]

    def row_values_gradient(self, statistics: Tensor, gradient: Tensor) -> Tensor:
        return self._over_classes.row_values_gradient(statistics, gradient)
