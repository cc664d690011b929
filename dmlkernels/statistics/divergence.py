"""Softmax normalisers of two views and the mean difference of their logits under each (symmetric KL)."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.statistics.base import State, Statistic, columns_of
from dmlkernels.statistics.tile import Tile


class Divergence(Statistic):
    """Columns: log Z of both views, then E_p[l - l'] and E_p'[l - l'], with l = scale s and p = softmax(l).

    KL(p || p') + KL(p' || p) is the difference of the last two: the normalisers cancel. With ``detach`` the slope is
    that of the sum with each divergence's target held fixed, which is p - p' on the first view.
    """

    name = "divergence"
    width = 4
    views = 2
    reads_labels = False

    def __init__(self, scale: float, detach: float) -> None:
        self.scale, self.detach = scale, bool(detach)

    def parameters(self) -> list[float]:
        return [self.scale, float(self.detach)]

    def empty(self, num_rows: int, like: Tensor) -> State:
        lowest, zero = like.new_full((num_rows,), -torch.inf), like.new_zeros(num_rows)
        return lowest, lowest, zero, zero

    def fold(self, tile: Tile) -> State:
        logits = tile.scores * self.scale  # (2, b, c)
        difference = logits[0] - logits[1]
        highest = logits.amax(2, keepdim=True)
        weights = logits.sub_(highest).exp_()
        total = weights.sum(2)
        first, second = weights.mul_(difference).sum(2) / total
        log_z = total.log_() + highest[..., 0]
        return log_z[0], log_z[1], first, second

    def merge(self, first: State, second: State) -> State:
        merged = []
        for view in (0, 1):
            log_z = torch.logaddexp(first[view], second[view])
            mean = (first[view] - log_z).exp() * first[view + 2] + (second[view] - log_z).exp() * second[view + 2]
            merged.append((log_z, mean))
        (log_z, mean), (log_z2, mean2) = merged
        return log_z, log_z2, mean, mean2

    def slope(self, tile: Tile, statistics: Tensor, gradient: Tensor) -> Tensor:
        log_z, log_z2, mean, mean2 = columns_of(statistics)
        _, _, gradient, gradient2 = columns_of(gradient * self.scale)
        logits = tile.scores * self.scale
        difference = logits[0] - logits[1]
        p = logits[0].sub_(log_z).exp_().mul_(gradient)
        p2 = logits[1].sub_(log_z2).exp_().mul_(gradient2)
        both = p + p2
        if self.detach:
            return torch.stack((both, -both))
        return torch.stack(
            (both + p * (difference - mean), (difference - mean2).mul_(p2) - both),
        )
