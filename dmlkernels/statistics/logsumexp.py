"""Log-sum-exp of each row's positive and negative scores (the softmax family; Proxy-Anchor with roles swapped)."""

from __future__ import annotations

from torch import Tensor

from dmlkernels.statistics.base import State, columns_of, finite_shift
from dmlkernels.statistics.log_sums import LogSums, sum_negatives, sum_positives
from dmlkernels.statistics.tile import Tile


class LogSumExp(LogSums):
    """Columns: log of the sum of exp(positive_scale s) over positives, and of exp(negative_scale s) over negatives."""

    name = "logsumexp"

    def __init__(self, positive_scale: float, negative_scale: float) -> None:
        self.positive_scale, self.negative_scale = positive_scale, negative_scale

    def parameters(self) -> list[float]:
        return [self.positive_scale, self.negative_scale]

    def fold(self, tile: Tile) -> State:
        positives, not_negatives = tile.label_pairs
        positive = sum_positives(positives.gather(tile.scores) * self.positive_scale, positives)
        return positive.log, sum_negatives(tile.scores * self.negative_scale, not_negatives).log

    def slope(self, tile: Tile, statistics: Tensor, gradient: Tensor) -> Tensor:
        positives, not_negatives = tile.label_pairs
        positive_gradient, negative_gradient = columns_of(gradient)
        positive_lse, negative_lse = columns_of(finite_shift(statistics))
        positive_scores = positives.gather(tile.scores) * self.positive_scale
        positive_slope = (
            (positive_scores - positives.broadcast(positive_lse[:, 0]))
            .exp_()
            .mul_(positives.broadcast(positive_gradient[:, 0] * self.positive_scale))
        )

        slope = (
            (tile.scores * self.negative_scale).sub_(negative_lse).exp_().mul_(negative_gradient * self.negative_scale)
        )
        not_negatives.fill_(slope, 0.0)
        positives.scatter_(slope, positive_slope)
        return slope
