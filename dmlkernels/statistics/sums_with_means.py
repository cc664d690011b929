"""Log-sum-exps of positives and negatives together with means by the weights in them."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.statistics.base import State, Statistic, finite_shift


class SumsWithMeans(Statistic):
    """Columns: log-sum-exp over the positives and over the negatives; then means, by turns over either.

    A mean is over the weights in its sum, and 0 for an empty one.
    """

    def empty(self, num_rows: int, like: Tensor) -> State:
        lowest, zero = like.new_full((num_rows,), -torch.inf), like.new_zeros(num_rows)
        return lowest, lowest, *(zero for _ in range(2, self.width))

    def merge(self, first: State, second: State) -> State:
        sums = [torch.logaddexp(first[kind], second[kind]) for kind in (0, 1)]
        weights = [[(state[kind] - finite_shift(sums[kind])).exp() for kind in (0, 1)] for state in (first, second)]
        means = [
            first[place] * weights[0][place % 2] + second[place] * weights[1][place % 2]
            for place in range(2, self.width)
        ]
        return *sums, *means


def mean(total: Tensor, weight: Tensor) -> Tensor:
    """``total / weight``, 0 for no weight."""
    return total / torch.where(weight == 0, 1, weight)
