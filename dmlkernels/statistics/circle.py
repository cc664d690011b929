"""Log-sum-exps of circle loss's self-paced logits."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.statistics.base import State, columns_of, finite_shift
from dmlkernels.statistics.log_sums import LogSums, sum_negatives, sum_positives
from dmlkernels.statistics.tile import Tile


class Circle(LogSums):
    """Columns: log-sum-exp of ``-scale max(1 + m - s, 0) (s - 1 + m)`` over the positives, and of
    ``scale max(s + m, 0) (s - m)`` over the negatives.

    The weights max(.., 0) are held fixed in the slope if ``detach``.
    """

    name = "circle"

    def __init__(self, scale: float, margin: float, detach: float) -> None:
        self.scale, self.margin, self.detach = scale, margin, bool(detach)

    def parameters(self) -> list[float]:
        return [self.scale, self.margin, float(self.detach)]

    def fold(self, tile: Tile) -> State:
        positives, not_negatives = tile.label_pairs
        logits = paced_logits(1 - positives.gather(tile.scores), self.scale, self.margin)
        positive = sum_positives(logits, positives)
        return positive.log, sum_negatives(paced_logits(tile.scores, self.scale, self.margin), not_negatives).log

    def slope(self, tile: Tile, statistics: Tensor, gradient: Tensor) -> Tensor:
        return paced_slope(tile, statistics, gradient, self.scale, self.margin, self.detach)


def paced_logits(scores: Tensor, scale: float | Tensor, margin: float | Tensor) -> Tensor:
    """Logits of negative scores. A positive score s has the logit that a negative one of 1 - s has."""
    return (scores + margin).clamp_min_(0).mul_(scores - margin).mul_(scale)


def paced_slope(
    tile: Tile,
    statistics: Tensor,  # (b, 2 or more), both log-sum-exps first
    gradient: Tensor,
    scale: float | Tensor,  # a tensor is (b, 1)
    margin: float | Tensor,
    detach: bool,
) -> Tensor:
    """The slope of Circle, and of RowCircle."""
    positives, not_negatives = tile.label_pairs
    positive_lse, negative_lse = columns_of(finite_shift(statistics[:, :2]))
    own_scale, own_margin = (
        positives.broadcast(value[:, 0]) if isinstance(value, Tensor) else value for value in (scale, margin)
    )
    distances = 1 - positives.gather(tile.scores)
    positive_slope = paced_logits(distances, own_scale, own_margin) - positives.broadcast(positive_lse[:, 0])
    rates = _paced_rates(distances, own_scale, own_margin, detach)
    positive_slope = positive_slope.exp_() * rates * positives.broadcast(-gradient[:, 0])

    slope = paced_logits(tile.scores, scale, margin).sub_(negative_lse).exp_().mul_(gradient[:, 1:2])
    slope.mul_(_paced_rates(tile.scores, scale, margin, detach))
    not_negatives.fill_(slope, 0.0)
    positives.scatter_(slope, positive_slope)
    return slope


def _paced_rates(scores: Tensor, scale: float | Tensor, margin: float | Tensor, detach: bool) -> Tensor:
    """Derivatives of these logits by the scores."""
    weights = (scores + margin).clamp_min_(0)
    if not detach:
        weights = torch.where(weights > 0, 2 * scores, weights)
    return weights.mul_(scale)
