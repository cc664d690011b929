"""Log-sum-exps of positives and of negatives, each exact however far its logits are from zero."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dmlkernels.statistics.base import State, Statistic, finite_shift
from dmlkernels.statistics.tile import LabelPairs


class LogSums(Statistic):
    """Columns: log-sum-exp of the logits of the positives, and of those of the negatives; ``-inf``, the log of an empty
    sum, for a row without any.
    """

    width = 2

    def empty(self, num_rows: int, like: Tensor) -> State:
        lowest = like.new_full((num_rows,), -torch.inf)
        return lowest, lowest

    def merge(self, first: State, second: State) -> State:
        return torch.logaddexp(first[0], second[0]), torch.logaddexp(first[1], second[1])


class LogSum(NamedTuple):
    """A log-sum-exp of each row of a tile."""

    log: Tensor  # (b,)
    total: Tensor  # (b,), of the weights
    weights: Tensor  # exp(logit - the row's highest)


def sum_positives(logits: Tensor, positives: LabelPairs) -> LogSum:
    """Of what was gathered of the positives."""
    highest = finite_shift(positives.row_max(logits))
    weights = (logits - positives.broadcast(highest)).exp_()
    total = positives.row_sum(weights)
    return LogSum(total.log().add_(highest), total, weights)


def sum_negatives(logits: Tensor, not_negatives: LabelPairs) -> LogSum:  # of (b, c) logits, which are overwritten
    """Of all the others."""
    not_negatives.fill_(logits, -torch.inf)
    highest = finite_shift(logits.amax(1))
    weights = logits.sub_(highest[:, None]).exp_()
    total = weights.sum(1)
    return LogSum(total.log().add_(highest), total, weights)
