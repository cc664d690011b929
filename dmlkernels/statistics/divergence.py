"""Softmax sums of two views and the mean difference of their logits under each (symmetric KL)."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.statistics.base import State, Statistic, columns_of, finite_shift
from dmlkernels.statistics.tile import Tile


class Divergence(Statistic):
    """Columns: h and h', t and t', E_p[e], and KL(p || p') + KL(p' || p) = E_p[e] - E_p'[e].

    l = scale s are the logits of a view, h = max l, 1 + t = sum exp(l - h), p = exp(l - h) / (1 + t) and
    e = (l - h) - (l' - h'), so that log Z = h + log(1 + t) and E[l - l'] = E[e] + h - h'. However near p is to one-hot
    and p' to p, these numbers keep their digits: t has no 1 in it, and e is 0 where both views are highest.

    Gradients flow through E_p[e] and the divergence alone, and e counts as l - l' there: nothing flows through h. With
    ``detach`` the slope is that of the sum with each divergence's target held fixed, which is p - p' on the first view.
    """

    name = "divergence"
    width = 6
    views = 2
    reads_labels = False

    def __init__(self, scale: float, detach: float) -> None:
        self.scale, self.detach = scale, bool(detach)

    def parameters(self) -> list[float]:
        return [self.scale, float(self.detach)]

    def empty(self, num_rows: int, like: Tensor) -> State:
        lowest, zero = like.new_full((num_rows,), -torch.inf), like.new_zeros(num_rows)
        return lowest, lowest, zero, zero, zero, zero

    def fold(self, tile: Tile) -> State:
        logits = tile.scores * self.scale  # (2, b, c)
        highest = logits.amax(2, keepdim=True)
        logits.sub_(highest)
        difference = logits[0] - logits[1]
        weights = logits.exp_()
        rest = _without_one(weights)
        mean = (weights[0] * difference).sum(1) / (1 + rest[0])
        divergence = difference.sub_(mean[:, None]).mul_(weights[1]).sum(1).neg_() / (1 + rest[1])
        return *highest[..., 0], *rest, mean, divergence

    def merge(self, first: State, second: State) -> State:
        sums = torch.stack((*first[:4], *second[:4])).unflatten(0, (2, 2, 2))
        parts, rests = sums.unbind(1)  # (2 parts, 2 views, rows)
        highest = parts.amax(0)
        lower = parts - finite_shift(highest)
        weights = lower.exp()
        rest = (weights * rests).sum(0) + weights.prod(0)  # one of the two weights is 1
        fractions = weights * (1 + rests) / (1 + rest)
        recentred = torch.where(lower[:, 0] == -torch.inf, 0, lower[:, 0] - lower[:, 1])
        means = recentred + torch.stack((first[4], second[4]))
        mean = (fractions[:, 0] * means).sum(0)
        divergences = torch.stack((first[5], second[5]))
        divergence = (fractions[:, 1] * (mean - means + divergences)).sum(0)
        return *highest, *rest, mean, divergence

    def slope(self, tile: Tile, statistics: Tensor, gradient: Tensor) -> Tensor:
        highest, highest2, rest, rest2, mean, divergence = columns_of(statistics)
        *_, of_mean, of_divergence = columns_of(gradient * self.scale)
        logits = tile.scores * self.scale
        difference = logits[0].sub_(highest) - logits[1].sub_(highest2)
        p, p2 = logits.exp_()
        p.mul_(1 / (1 + rest))
        p2.mul_(1 / (1 + rest2))
        log_odds = difference - ((rest - rest2) / (1 + rest2)).log1p_()
        apart = log_odds.abs().neg_().expm1_().mul_(torch.maximum(p, p2)).copysign_(log_odds)  # p - p2
        both = apart.mul_(of_divergence).addcmul_(p, of_mean)
        if self.detach:
            return torch.stack((both, -both))
        p.mul_(of_mean + of_divergence).mul_(difference - mean).add_(both)
        p2.mul_(-of_divergence).mul_(difference.sub_(mean - divergence)).sub_(both)
        return logits


def _without_one(weights: Tensor) -> Tensor:
    """Sums less 1, the highest weight of each, keeping the digits of what is small beside it."""
    total = weights.sum(2)
    below = -torch.threshold(-weights, -1.0, 0.0).sum(2)  # without those that are 1
    return below + ((total - below).round_() - 1)
