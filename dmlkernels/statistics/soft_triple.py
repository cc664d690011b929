"""Log-sum-exp over classes of several centres each, relaxed to one similarity per class (SoftTriple)."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from dmlkernels.statistics.base import State
from dmlkernels.statistics.logsumexp import LogSumExp
from dmlkernels.statistics.over_classes import OverClasses
from dmlkernels.statistics.tile import Tile


class SoftTriple(OverClasses):
    """LogSumExp of S_c = sum_k softmax_k(s_ck / gamma) s_ck, with ``group`` centres per class."""

    name = "soft_triple"
    width = LogSumExp.width
    over_classes: LogSumExp

    def __init__(self, scale: float, gamma: float, group: float) -> None:
        super().__init__(LogSumExp(scale, scale), group)
        self.scale, self.gamma = scale, gamma

    def parameters(self) -> list[float]:
        return [self.scale, self.gamma, self.group]

    def fold(self, tile: Tile) -> State:
        return self.over_classes.fold(self._relax(tile)[0])

    def slope(self, tile: Tile, statistics: Tensor, gradient: Tensor) -> Tensor:
        relaxed, weights = self._relax(tile)
        class_slope = self.over_classes.slope(relaxed, statistics, gradient)
        slope = (self.by_class(tile) - relaxed.scores[:, None]).div_(self.gamma).add_(1)
        return slope.mul_(weights).mul_(class_slope[:, None])

    def _relax(self, tile: Tile) -> tuple[Tile, Tensor]:
        """The tile of class similarities, and each centre's softmax weight in its class."""
        scores = self.by_class(tile)
        weights = scores.sub(scores.amax(1, keepdim=True)).div_(self.gamma).exp_()
        weights.div_(weights.sum(1, keepdim=True))
        return replace(tile, scores=(weights * scores).sum(1)), weights
