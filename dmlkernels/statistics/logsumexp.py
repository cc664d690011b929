"""Log-sum-exp of each row's positive and negative scores (the softmax family; Proxy-Anchor with roles swapped)."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.statistics.base import State, Statistic, columns_of, finite_shift
from dmlkernels.statistics.tile import Tile


class LogSumExp(Statistic):
    """Columns: log of the sum of exp(positive_scale s) over the positives, of exp(negative_scale s) over the negatives.

    A row without such a column has ``-inf``, the log of an empty sum.
    """

    name = "logsumexp"
    width = 2

    def __init__(self, positive_scale: float, negative_scale: float) -> None:
        self.positive_scale, self.negative_scale = positive_scale, negative_scale

    def parameters(self) -> list[float]:
        return [self.positive_scale, self.negative_scale]

    def empty(self, num_rows: int, like: Tensor) -> State:
        lowest = like.new_full((num_rows,), -torch.inf)
        return lowest, lowest

    def fold(self, tile: Tile) -> State:
        positives, not_negatives = tile.label_pairs
        positive_scores = positives.gather(tile.scores) * self.positive_scale
        highest = finite_shift(positives.row_max(positive_scores))
        positive_sum = positives.row_sum((positive_scores - positives.broadcast(highest)).exp_())

        negative_scores = tile.scores * self.negative_scale
        not_negatives.fill_(negative_scores, -torch.inf)
        negative_highest = finite_shift(negative_scores.amax(1))
        negative_sum = negative_scores.sub_(negative_highest[:, None]).exp_().sum(1)
        return positive_sum.log_().add_(highest), negative_sum.log_().add_(negative_highest)

    def merge(self, first: State, second: State) -> State:
        return torch.logaddexp(first[0], second[0]), torch.logaddexp(first[1], second[1])

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
