"""Log-sum-exp over classes of several centres each, relaxed to one similarity per class (SoftTriple)."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from dmlkernels.statistics.base import State, Statistic
from dmlkernels.statistics.logsumexp import LogSumExp
from dmlkernels.statistics.tile import Tile


class SoftTriple(Statistic):
    """LogSumExp of S_c = sum_k softmax_k(s_ck / gamma) s_ck, with ``group`` centres per class."""

    name = "soft_triple"
    width = 2

    def __init__(self, scale: float, gamma: float, group: float) -> None:
        self.scale, self.gamma, self._group = scale, gamma, int(group)
        self._over_classes = LogSumExp(scale, scale)

    @property
    def group(self) -> int:
        return self._group

    def parameters(self) -> list[float]:
        return [self.scale, self.gamma, self._group]

    def empty(self, num_rows: int, like: Tensor) -> State:
        return self._over_classes.empty(num_rows, like)

    def fold(self, tile: Tile) -> State:
        return self._over_classes.fold(self._relax(tile)[0])

    def merge(self, first: State, second: State) -> State:
        return self._over_classes.merge(first, second)

    def slope(self, tile: Tile, statistics: Tensor, gradient: Tensor) -> Tensor:
        relaxed, weights = self._relax(tile)
        class_slope = self._over_classes.slope(relaxed, statistics, gradient)
        slope = (self._by_class(tile) - relaxed.scores[:, None]).div_(self.gamma).add_(1)
        return slope.mul_(weights).mul_(class_slope[:, None])

    def _by_class(self, tile: Tile) -> Tensor:  # (b, k, c)
        """The scores; a tile of groups of one comes without the middle dimension."""
        return tile.scores.view(tile.scores.shape[0], self._group, -1)

    def _relax(self, tile: Tile) -> tuple[Tile, Tensor]:
        """The tile of class similarities, and each centre's softmax weight in its class."""
        scores = self._by_class(tile)
        weights = scores.sub(scores.amax(1, keepdim=True)).div_(self.gamma).exp_()
        weights.div_(weights.sum(1, keepdim=True))
        return replace(tile, scores=(weights * scores).sum(1)), weights
