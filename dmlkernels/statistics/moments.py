"""Count, mean and squared deviation of each row's genuine and impostor scores (PD-Loss, D-Loss)."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.statistics.base import State, Statistic
from dmlkernels.statistics.tile import Tile


def merge_moments(first: State, second: State) -> State:
    """Chan's merge of (count, mean, sum of squared deviations): nothing cancels."""
    (count_a, mean_a, deviation_a), (count_b, mean_b, deviation_b) = first, second
    count = count_a + count_b
    fraction = count_b / count.clamp_min(1)
    step = mean_b - mean_a
    return count, mean_a + step * fraction, deviation_a + deviation_b + step.square() * (count_a * fraction)


class Moments(Statistic):
    """Columns: genuine count, mean, squared deviation; impostor count, mean, squared deviation."""

    name = "moments"
    width = 6
    symmetric = True

    def empty(self, num_rows: int, like: Tensor) -> State:
        return tuple(like.new_zeros(num_rows) for _ in range(self.width))

    def fold(self, tile: Tile) -> State:
        positives, not_negatives = tile.label_pairs
        scores = tile.scores
        positive_scores = positives.gather(scores)
        positive_count = positives.row_sum(torch.ones_like(positive_scores))
        positive_mean = positives.row_sum(positive_scores) / positive_count.clamp_min(1)
        positive_deviation = positives.row_sum((positive_scores - positives.broadcast(positive_mean)).square())

        left_out = not_negatives.gather(scores)
        count = scores.shape[1] - not_negatives.row_sum(torch.ones_like(left_out))
        mean = (scores.sum(1) - not_negatives.row_sum(left_out)) / count.clamp_min(1)
        deviations = scores - mean[:, None]
        not_negatives.fill_(deviations, 0.0)
        return positive_count, positive_mean, positive_deviation, count, mean, deviations.square_().sum(1)

    def merge(self, first: State, second: State) -> State:
        return merge_moments(first[:3], second[:3]) + merge_moments(first[3:], second[3:])

    def slope(self, tile: Tile, statistics: Tensor, gradient: Tensor) -> Tensor:
        positives, not_negatives = tile.label_pairs
        (positive_shift, positive_rate), (shift, rate) = (self.affine(statistics, gradient, kind) for kind in (0, 1))
        positive_scores = positives.gather(tile.scores)
        positive_slope = positives.broadcast(positive_shift) + positives.broadcast(positive_rate) * (
            positive_scores - positives.broadcast(statistics[:, 1])
        )
        slope = (tile.scores - statistics[:, 4:5]).mul_(rate[:, None]).add_(shift[:, None])
        not_negatives.fill_(slope, 0.0)
        positives.scatter_(slope, positive_slope)
        return slope

    @staticmethod
    def affine(statistics: Tensor, gradient: Tensor, kind: int) -> tuple[Tensor, Tensor]:
        """``(shift, rate)`` per row with slope = shift + rate (s - mean), for genuine (0) or impostor (1) scores."""
        count, mean_gradient = statistics[:, 3 * kind], gradient[:, 3 * kind + 1]
        return mean_gradient / count.clamp_min(1), 2 * gradient[:, 3 * kind + 2]
