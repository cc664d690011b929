"""Log-sum-exps of circle loss's logits with a scale and a margin for each row."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.statistics.base import State, Statistic, columns_of, finite_shift
from dmlkernels.statistics.circle import paced_logits, paced_rates
from dmlkernels.statistics.tile import Tile


class RowCircle(Statistic):
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

    def empty(self, num_rows: int, like: Tensor) -> State:
        lowest, zero = like.new_full((num_rows,), -torch.inf), like.new_zeros(num_rows)
        return lowest, lowest, zero, zero, zero, zero

    def fold(self, tile: Tile) -> State:
        positives, not_negatives = tile.label_pairs
        scale, margin = columns_of(_values_of(tile))
        own = positives.broadcast(scale[:, 0]), positives.broadcast(margin[:, 0])
        distances = 1 - positives.gather(tile.scores)
        logits = paced_logits(distances, *own)
        highest = finite_shift(positives.row_max(logits))
        weights = (logits - positives.broadcast(highest)).exp_()
        positive_sum = positives.row_sum(weights)
        positive = [positives.row_sum(weights * rate) for rate in self._derivatives(distances, *own)]

        logits = paced_logits(tile.scores, scale, margin)
        not_negatives.fill_(logits, -torch.inf)
        negative_highest = finite_shift(logits.amax(1))
        weights = logits.sub_(negative_highest[:, None]).exp_()
        negative_sum = weights.sum(1)
        negative = [(weights * rate).sum(1) for rate in self._derivatives(tile.scores, scale, margin)]
        divisors = [torch.where(total == 0, 1, total) for total in (positive_sum, negative_sum)]
        means = [
            total / divisor
            for totals in zip(positive, negative, strict=True)
            for total, divisor in zip(totals, divisors, strict=True)
        ]
        return positive_sum.log().add_(highest), negative_sum.log().add_(negative_highest), *means

    def merge(self, first: State, second: State) -> State:
        sums = [torch.logaddexp(first[kind], second[kind]) for kind in (0, 1)]
        means = []
        for place in range(2, self.width):
            kind = place % 2
            shift = finite_shift(sums[kind])
            means.append(first[place] * (first[kind] - shift).exp() + second[place] * (second[kind] - shift).exp())
        return *sums, *means

    def slope(self, tile: Tile, statistics: Tensor, gradient: Tensor) -> Tensor:
        positives, not_negatives = tile.label_pairs
        scale, margin = columns_of(_values_of(tile))
        own = positives.broadcast(scale[:, 0]), positives.broadcast(margin[:, 0])
        positive_lse, negative_lse = columns_of(finite_shift(statistics[:, :2]))
        distances = 1 - positives.gather(tile.scores)
        positive_slope = (paced_logits(distances, *own) - positives.broadcast(positive_lse[:, 0])).exp_()
        positive_slope = positive_slope * paced_rates(distances, *own, self.detach)
        positive_slope = positive_slope * positives.broadcast(-gradient[:, 0])

        slope = paced_logits(tile.scores, scale, margin).sub_(negative_lse).exp_().mul_(gradient[:, 1:2])
        slope.mul_(paced_rates(tile.scores, scale, margin, self.detach))
        not_negatives.fill_(slope, 0.0)
        positives.scatter_(slope, positive_slope)
        return slope

    def row_values_gradient(self, statistics: Tensor, gradient: Tensor) -> Tensor:
        return (statistics[:, 2:].unflatten(1, (2, 2)) * gradient[:, None, :2]).sum(2)

    def _derivatives(self, scores: Tensor, scale: Tensor, margin: Tensor) -> tuple[Tensor, Tensor]:
        """Of the logits, by scale and by margin."""
        weights = (scores + margin).clamp_min_(0)
        of_scale = weights * (scores - margin)
        if self.detach:
            return of_scale, weights.mul_(-scale)
        return of_scale, torch.where(weights > 0, -2 * margin * scale, 0)


def _values_of(tile: Tile) -> Tensor:
    if tile.row_values is None:
        raise TypeError("this statistic needs row_values")
    return tile.row_values
