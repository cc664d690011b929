"""Log-sum-exps of circle loss's logits with a scale and a margin for each row."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.statistics.base import State
from dmlkernels.statistics.circle import paced_logits, paced_slope
from dmlkernels.statistics.log_sums import sum_negatives, sum_positives
from dmlkernels.statistics.sums_with_means import SumsWithMeans, mean
from dmlkernels.statistics.tile import Tile


class RowCircle(SumsWithMeans):
    """Columns: as in Circle with the row's own scale and margin, and the derivatives of both sums, first by the scale
    and then by the margin.

    ``row_values`` are scale and margin. The derivatives are means by the weights in either sum; they have no derivative
    themselves, and are 0 for an empty sum. That by the margin holds the weights max(.., 0) fixed if ``detach``.
    """

    name = "row_circle"
    width = 6
    num_row_values = 2

    def __init__(self, detach: float) -> None:
        self.detach = bool(detach)

    def parameters(self) -> list[float]:
        return [float(self.detach)]

    def fold(self, tile: Tile) -> State:
        positives, not_negatives = tile.label_pairs
        scale, margin = tile.row_options
        own = positives.broadcast(scale[:, 0]), positives.broadcast(margin[:, 0])
        distances = 1 - positives.gather(tile.scores)
        positive = sum_positives(paced_logits(distances, *own), positives)
        of_positive = [positives.row_sum(positive.weights * rate) for rate in self._derivatives(distances, *own)]
        negative = sum_negatives(paced_logits(tile.scores, scale, margin), not_negatives)
        of_negative = [(negative.weights * rate).sum(1) for rate in self._derivatives(tile.scores, scale, margin)]
        means = [
            mean(weighted, of_sum)
            for both in zip(of_positive, of_negative, strict=True)
            for weighted, of_sum in zip(both, (positive.total, negative.total), strict=True)
        ]
        return positive.log, negative.log, *means

    def slope(self, tile: Tile, statistics: Tensor, gradient: Tensor) -> Tensor:
        scale, margin = tile.row_options
        return paced_slope(tile, statistics, gradient, scale, margin, self.detach)

    def row_values_gradient(self, statistics: Tensor, gradient: Tensor) -> Tensor:
        return (statistics[:, 2:].unflatten(1, (2, 2)) * gradient[:, None, :2]).sum(2)

    def _derivatives(self, scores: Tensor, scale: Tensor, margin: Tensor) -> tuple[Tensor, Tensor]:
        """Of the logits, by scale and by margin."""
        weights = (scores + margin).clamp_min_(0)
        of_scale = weights * (scores - margin)
        if self.detach:
            return of_scale, weights.mul_(-scale)
        return of_scale, torch.where(weights > 0, -2 * margin * scale, 0)
