"""Moments of the scores: with m the mean of the unit columns and K = sum_j (w_j - m)(w_j - m)', row x has mean x.m and
squared deviation x'Kx, exactly and with nothing to cancel.

Own-class scores are few: they are gathered, and taken out of the whole by undoing Chan's merge. The slope is affine in
the score, shift + rate (s - mean), so the gradient needs m and K again, and for the columns the same sums over rows.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dmlkernels.backends.blocked.columns import Columns
from dmlkernels.backends.blocked.matching import list_pairs
from dmlkernels.backends.blocked.normalise import Norms
from dmlkernels.backends.blocked.plan import column_blocks
from dmlkernels.backends.blocked.rows import Rows
from dmlkernels.backends.pairs import Forward, Gradients, Pairs
from dmlkernels.statistics import Moments


def forward(pairs: Pairs, norms: Norms) -> Forward:
    rows = Rows(pairs, norms)
    memo = _scatter(pairs, norms, rows.units)
    mean = rows.units @ memo[0]
    deviation = ((rows.units @ memo[1:]) * rows.units).sum(1)

    own = _OwnPairs.gather(pairs, rows, norms)
    own_count = own.sum(torch.ones_like(own.scores))
    own_mean = own.sum(own.scores) / own_count.clamp_min(1)
    own_deviation = own.sum((own.scores - own_mean[own.rows]).square())

    count = pairs.num_columns - own_count
    step = (mean - own_mean) * (own_count / count.clamp_min(1))
    impostor_mean = torch.where(count > 0, mean + step, 0)
    between = (own_mean - impostor_mean).square() * (own_count * count / pairs.num_columns)
    impostor_deviation = (deviation - own_deviation - between).clamp_min_(0)
    finished = (own_count, own_mean, own_deviation, count, impostor_mean, impostor_deviation)
    return Forward(rows.give(torch.stack(finished, dim=1)), memo)


def backward(
    pairs: Pairs, forward: Forward, gradient: Tensor, needs_rows: bool, needs_columns: bool, norms: Norms
) -> Gradients:
    rows = Rows(pairs, norms)
    statistics, gradient = rows.take(forward.statistics), rows.take(gradient)
    mean, matrix = forward.memo[0], forward.memo[1:]
    (own_shift, own_rate), (shift, rate) = (Moments.affine(statistics, gradient, kind) for kind in (0, 1))
    own = _OwnPairs.gather(pairs, rows, norms)
    # What own pairs get beyond the slope that the impostors' formula gives them too.
    extra = own_shift[own.rows] + own_rate[own.rows] * (own.scores - statistics[own.rows, 1])
    extra -= shift[own.rows] + rate[own.rows] * (own.scores - statistics[own.rows, 4])
    extra = own.mask(extra)[:, None]
    shift = shift + rate * (rows.units @ mean - statistics[:, 4])  # about the mean of all scores

    of_rows = of_columns = None
    if needs_rows:
        of_units = (rows.units @ matrix).mul_(rate[:, None]).addcmul_(shift[:, None], pairs.num_columns * mean)
        of_rows = rows.gradient(of_units.index_add_(0, own.rows, extra * own.units))
    if needs_columns and pairs.columns is not None:
        of_columns = pairs.columns.new_empty(pairs.columns.shape, dtype=pairs.dtype)  # sums of two, so not yet rounded
        offset = shift @ rows.units
        matrix = (rows.units * rate[:, None]).mT @ rows.units
        for block in column_blocks(pairs, pairs.dim):
            columns = Columns(pairs, block, norms)
            of_units = torch.addmm(offset, columns.units - mean, matrix)
            of_columns[columns.span] = columns.gradient(of_units)
        of_own = norms.normalisation_backward(own.units, own.inverse, extra * rows.units[own.rows])
        of_columns = _add_rows(of_columns, own.columns, of_own).to(pairs.columns.dtype)
    return Gradients(of_rows, of_columns)


def _add_rows(target: Tensor, index: Tensor, rows: Tensor) -> Tensor:
    """In place, to rows that may repeat, in a fixed order: each of the two ways has one on its device only."""
    if target.device.type == "cpu":
        return target.index_add_(0, index, rows)
    return target.index_put_((index,), rows, accumulate=True)


def _scatter(pairs: Pairs, norms: Norms, like: Tensor) -> Tensor:
    """m above K, merged block by block (Chan, with matrices)."""
    memo = like.new_zeros(pairs.dim + 1, pairs.dim)
    mean, matrix = memo[0], memo[1:]
    for block in column_blocks(pairs, pairs.dim):
        units = Columns(pairs, block, norms).units
        block_mean = units.mean(0)
        matrix.addmm_(units.sub_(block_mean).mT, units)
        step = block_mean - mean
        share = units.shape[0] / block.stop
        matrix.addr_(step, step, alpha=block.start * share)
        mean.add_(step, alpha=share)
    return memo


class _OwnPairs(NamedTuple):
    """Every own-class pair, gathered."""

    rows: Tensor  # (n,)
    columns: Tensor  # (n,)
    units: Tensor  # (n, D), the unit columns
    inverse: Tensor  # (n,), reciprocals of their norms
    scores: Tensor  # (n,)
    num_rows: int
    valid: Tensor | None  # (n,) if there is one pair a row, in order, which may not be one

    @classmethod
    def gather(cls, pairs: Pairs, rows: Rows, norms: Norms) -> _OwnPairs:
        assert rows.labels is not None and pairs.columns is not None
        valid = None
        if pairs.column_labels is not None:
            own_rows, own_columns = list_pairs(rows.labels, pairs.column_labels)
        else:
            own_rows = torch.arange(rows.labels.shape[0], device=rows.labels.device)
            own_columns = rows.labels.clamp(0, pairs.num_columns - 1)
            valid = own_columns == rows.labels
        units, inverse = norms.normalise(pairs.columns[own_columns], pairs.dtype)
        scores = (rows.units[own_rows] * units).sum(1)
        return cls(own_rows, own_columns, units, inverse, scores, rows.labels.shape[0], valid)

    def mask(self, values: Tensor) -> Tensor:
        return values if self.valid is None else torch.where(self.valid, values, 0)

    def sum(self, values: Tensor) -> Tensor:
        """Per row."""
        if self.valid is not None:
            return self.mask(values)
        return values.new_zeros(self.num_rows).index_add_(0, self.rows, values)
