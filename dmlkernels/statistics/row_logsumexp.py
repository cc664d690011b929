"""Log-sum-exps of positives and negatives with a scale for each row, and with hard negatives made harder."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.statistics.base import State, columns_of, finite_shift
from dmlkernels.statistics.log_sums import sum_negatives, sum_positives
from dmlkernels.statistics.sums_with_means import SumsWithMeans, mean
from dmlkernels.statistics.tile import Tile


class RowLogSumExp(SumsWithMeans):
    """Columns: as in LogSumExp with the scale of the row, and the means of the scores by their weights in either sum.

    ``row_values`` are scale, threshold and hardness. A negative score s above the threshold counts as
    ``s (hardness + s)``, in the mean too. The means are the derivatives of the sums with respect to the scale; they
    have no derivative themselves, and are 0 for an empty sum.
    """

    name = "row_logsumexp"
    width = 4
    num_row_values = 3

    def fold(self, tile: Tile) -> State:
        positives, not_negatives = tile.label_pairs
        scale, threshold, hardness = tile.row_options
        positive_scores = positives.gather(tile.scores)
        positive = sum_positives(positive_scores * positives.broadcast(scale[:, 0]), positives)
        scores = _harder(tile.scores, threshold, hardness)
        negative = sum_negatives(scores * scale, not_negatives)
        return (
            positive.log,
            negative.log,
            mean(positives.row_sum(positive.weights * positive_scores), positive.total),
            mean(negative.weights.mul_(scores).sum(1), negative.total),
        )

    def slope(self, tile: Tile, statistics: Tensor, gradient: Tensor) -> Tensor:
        positives, not_negatives = tile.label_pairs
        scale, threshold, hardness = tile.row_options
        positive_lse, negative_lse = columns_of(finite_shift(statistics[:, :2]))
        positive_rate, negative_rate = columns_of(gradient[:, :2] * scale)
        logits = positives.gather(tile.scores) * positives.broadcast(scale[:, 0])
        positive_slope = (
            (logits - positives.broadcast(positive_lse[:, 0])).exp_().mul_(positives.broadcast(positive_rate[:, 0]))
        )
        slope = (_harder(tile.scores, threshold, hardness) * scale).sub_(negative_lse).exp_().mul_(negative_rate)
        slope.mul_(torch.where(tile.scores > threshold, hardness + 2 * tile.scores, 1))
        not_negatives.fill_(slope, 0.0)
        positives.scatter_(slope, positive_slope)
        return slope

    def row_values_gradient(self, statistics: Tensor, gradient: Tensor) -> Tensor:
        of_scale = (statistics[:, 2:] * gradient[:, :2]).sum(1)
        return torch.stack((of_scale, torch.zeros_like(of_scale), torch.zeros_like(of_scale)), dim=1)


def _harder(scores: Tensor, threshold: Tensor, hardness: Tensor) -> Tensor:
    return torch.where(scores > threshold, scores * (hardness + scores), scores)
