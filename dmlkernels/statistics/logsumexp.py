"""Log-sum-exp of each row's own-class and other-class scores (the softmax family; Proxy-Anchor with roles swapped)."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.statistics.base import State, Statistic, columns_of, finite_shift
from dmlkernels.statistics.tile import Tile


class LogSumExp(Statistic):
    """Columns: log sum of exp(own_scale s) over same-class columns, of exp(other_scale s) over the others.

    A row without such a column has ``-inf``, the log of an empty sum.
    """

    name = "logsumexp"
    width = 2

    def __init__(self, own_scale: float, other_scale: float) -> None:
        self.own_scale, self.other_scale = own_scale, other_scale

    def parameters(self) -> list[float]:
        return [self.own_scale, self.other_scale]

    def empty(self, num_rows: int, like: Tensor) -> State:
        lowest = like.new_full((num_rows,), -torch.inf)
        return lowest, lowest

    def fold(self, tile: Tile) -> State:
        own, excluded = tile.label_pairs
        genuine = own.take(tile.scores) * self.own_scale
        highest = finite_shift(own.amax(genuine))
        own_sum = own.sum((genuine - own.spread(highest)).exp_())

        others = tile.scores * self.other_scale
        excluded.fill_(others, -torch.inf)
        other_highest = finite_shift(others.amax(1))
        other_sum = others.sub_(other_highest[:, None]).exp_().sum(1)
        return own_sum.log_().add_(highest), other_sum.log_().add_(other_highest)

    def merge(self, first: State, second: State) -> State:
        return torch.logaddexp(first[0], second[0]), torch.logaddexp(first[1], second[1])

    def slope(self, tile: Tile, statistics: Tensor, gradient: Tensor) -> Tensor:
        own, excluded = tile.label_pairs
        own_gradient, other_gradient = columns_of(gradient)
        own_lse, other_lse = columns_of(finite_shift(statistics))
        genuine = own.take(tile.scores) * self.own_scale
        own_slope = (genuine - own.spread(own_lse[:, 0])).exp_().mul_(own.spread(own_gradient[:, 0] * self.own_scale))

        slope = (tile.scores * self.other_scale).sub_(other_lse).exp_().mul_(other_gradient * self.other_scale)
        excluded.fill_(slope, 0.0)
        own.put_(slope, own_slope)
        return slope
