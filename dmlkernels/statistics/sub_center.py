"""Log-sum-exp over classes of several centres each, of which the nearest counts (SubCenter-ArcFace)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dmlkernels.statistics.base import State
from dmlkernels.statistics.logsumexp import LogSumExp
from dmlkernels.statistics.over_classes import OverClasses
from dmlkernels.statistics.row_logsumexp import RowLogSumExp
from dmlkernels.statistics.tile import Tile


class OfNearest(OverClasses):
    """Another statistic of S_c = max_k s_ck; of equal centres the first has the slope."""

    def fold(self, tile: Tile) -> State:
        return self.over_classes.fold(replace(tile, scores=self.by_class(tile).amax(1)))

    def slope(self, tile: Tile, statistics: Tensor, gradient: Tensor) -> Tensor:
        scores = self.by_class(tile)
        nearest = scores.argmax(1, keepdim=True)
        of_classes = replace(tile, scores=scores.gather(1, nearest)[:, 0])
        class_slope = self.over_classes.slope(of_classes, statistics, gradient)
        return torch.zeros_like(scores).scatter_(1, nearest, class_slope[:, None])


class SubCenter(OfNearest):
    """LogSumExp of S_c, with ``group`` centres per class."""

    name = "sub_center"
    width = LogSumExp.width
    over_classes: LogSumExp

    def __init__(self, scale: float, group: float) -> None:
        super().__init__(LogSumExp(scale, scale), group)
        self.scale = scale

    def parameters(self) -> list[float]:
        return [self.scale, self.group]


class RowSubCenter(OfNearest):
    """RowLogSumExp of S_c, with its row values and means."""

    name = "row_sub_center"
    width = RowLogSumExp.width
    num_row_values = RowLogSumExp.num_row_values

    def __init__(self, group: float) -> None:
        super().__init__(RowLogSumExp(), group)

    def parameters(self) -> list[float]:
        return [self.group]
