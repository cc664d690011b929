"""Moments of the scores: with m the mean of the unit columns and K = sum_j (w_j - m)(w_j - m)', row x has mean x.m and
squared deviation x'Kx.

Positive scores are few: they are gathered, and taken out of the whole by undoing Chan's merge. The slope is affine in
the score, shift + rate (s - mean), so the gradient needs m and K again, and for the columns the same sums over rows.

All of it is float64. When training converges the positive score is 1 and all others are nearly equal: what is taken out
is then nearly everything, and the difference is left with the rounding of the whole. Relative to the squared deviation
of n impostor scores with variance v that is eps / (n v): at n = 10 and a noise of 1e-3 about 0.1 in float32 and 1e-10
in float64. Tiles round every score to float32, which costs eps / sqrt(v). The closed form is held to twice their error.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from dmlkernels.backends.blocked import host
from dmlkernels.backends.blocked.columns import Columns
from dmlkernels.backends.blocked.matching import list_pairs
from dmlkernels.backends.blocked.normalise import Norms
from dmlkernels.backends.blocked.plan import Block, unscored_column_blocks
from dmlkernels.backends.blocked.rows import Rows
from dmlkernels.backends.pairs import Forward, Gradients, Pairs
from dmlkernels.statistics import Moments

WIDE = torch.float64


def saved_shape(pairs: Pairs) -> tuple[int, ...]:
    """Shape of m above K: float64 values, viewed in the dtype of the pairs."""
    return (pairs.dim + 1, pairs.dim * WIDE.itemsize // pairs.dtype.itemsize)


def forward(pairs: Pairs, norms: Norms) -> Forward:
    wide = _widened(pairs)
    rows = Rows(wide, norms, pairs.rows)
    saved = _scatter(wide, norms, rows.units)
    mean = rows.units @ saved[0]
    deviation = ((rows.units @ saved[1:]) * rows.units).sum(1)

    positives = _Positives.gather(wide, rows, norms)
    positive_count = positives.sum(torch.ones_like(positives.scores))
    positive_mean = positives.sum(positives.scores) / positive_count.clamp_min(1)
    positive_deviation = positives.sum((positives.scores - positive_mean[positives.rows]).square())

    count = pairs.num_columns - positive_count
    step = (mean - positive_mean) * (positive_count / count.clamp_min(1))
    impostor_mean = torch.where(count > 0, mean + step, 0)
    between = (positive_mean - impostor_mean).square() * (positive_count * count / pairs.num_columns)
    impostor_deviation = (deviation - positive_deviation - between).clamp_min_(0)
    finished = (positive_count, positive_mean, positive_deviation, count, impostor_mean, impostor_deviation)
    return Forward(rows.scatter(torch.stack(finished, dim=1)).to(pairs.dtype), saved.view(pairs.dtype))


def backward(
    pairs: Pairs, forward: Forward, gradient: Tensor, needs_rows: bool, needs_columns: bool, norms: Norms
) -> Gradients:
    wide = _widened(pairs)
    rows = Rows(wide, norms, pairs.rows)
    statistics, gradient = rows.gather(forward.statistics.to(WIDE)), rows.gather(gradient.to(WIDE))
    saved = forward.saved.contiguous().view(WIDE)
    mean, matrix = saved[0], saved[1:]
    (positive_shift, positive_rate), (shift, rate) = (Moments.affine(statistics, gradient, kind) for kind in (0, 1))
    positives = _Positives.gather(wide, rows, norms)
    # What positives get beyond the slope that the impostors' formula gives them too.
    extra = positive_shift[positives.rows] + positive_rate[positives.rows] * (
        positives.scores - statistics[positives.rows, 1]
    )
    extra -= shift[positives.rows] + rate[positives.rows] * (positives.scores - statistics[positives.rows, 4])
    extra = positives.mask(extra)[:, None]
    shift = shift + rate * (rows.units @ mean - statistics[:, 4])  # about the mean of all scores

    of_rows = of_columns = None
    if needs_rows:
        of_units = (rows.units @ matrix).mul_(rate[:, None]).addcmul_(shift[:, None], pairs.num_columns * mean)
        of_rows = rows.gradient(of_units.index_add_(0, positives.rows, extra * positives.units))
    if needs_columns and pairs.columns is not None:
        of_columns = torch.empty_like(pairs.columns, memory_format=torch.contiguous_format)
        offset = shift @ rows.units
        matrix = (rows.units * rate[:, None]).mT @ rows.units
        of_positives = extra * rows.units[positives.rows]
        for block in _blocks(wide):
            columns = Columns(wide, block, norms)
            of_units = torch.addmm(offset, columns.units - mean, matrix)
            _add_rows(of_units, *positives.in_block(block, of_positives))
            of_columns[columns.span] = columns.gradient(of_units).to(of_columns.dtype)
    return Gradients(of_rows, of_columns)


def _widened(pairs: Pairs) -> Pairs:
    return replace(pairs, rows=pairs.rows.to(WIDE))


def _blocks(pairs: Pairs) -> list[Block]:
    """Column blocks: unit columns in float64 take twice the memory."""
    return unscored_column_blocks(pairs, 2 * pairs.dim)


def _add_rows(target: Tensor, index: Tensor, rows: Tensor) -> Tensor:
    """Add in place to rows that may repeat; each of the two ways is deterministic on one kind of device only."""
    if target.device.type == "cpu":
        return target.index_add_(0, index, rows)
    return target.index_put_((index,), rows, accumulate=True)


def _scatter(pairs: Pairs, norms: Norms, like: Tensor) -> Tensor:
    """m above K, merged block by block (Chan, with matrices)."""
    saved = like.new_zeros(pairs.dim + 1, pairs.dim)
    mean, matrix = saved[0], saved[1:]
    for block in _blocks(pairs):
        units = Columns(pairs, block, norms).units
        block_mean = units.mean(0)
        matrix.addmm_(units.sub_(block_mean).mT, units)
        step = block_mean - mean
        fraction = units.shape[0] / block.stop
        matrix.addr_(step, step, alpha=block.start * fraction)
        mean.add_(step, alpha=fraction)
    return saved


class _Positives(NamedTuple):
    """Every positive pair, gathered."""

    rows: Tensor  # (n,)
    columns: Tensor  # (n,)
    units: Tensor  # (n, D), the unit columns
    scores: Tensor  # (n,)
    num_rows: int
    valid: Tensor | None  # (n,) if there is one pair a row, in order, which may not be one

    @classmethod
    def gather(cls, pairs: Pairs, rows: Rows, norms: Norms) -> _Positives:
        assert rows.labels is not None and pairs.columns is not None
        valid = None
        if pairs.column_labels is not None:
            positive_rows, positive_columns = list_pairs(rows.labels, pairs.column_labels)
        else:
            positive_rows = torch.arange(rows.labels.shape[0], device=rows.labels.device)
            positive_columns = rows.labels.clamp(0, pairs.num_columns - 1)
            valid = positive_columns == rows.labels
        units, _ = norms.normalise(pairs.columns[positive_columns], pairs.dtype)
        scores = (rows.units[positive_rows] * units).sum(1)
        return cls(positive_rows, positive_columns, units, scores, rows.labels.shape[0], valid)

    def mask(self, values: Tensor) -> Tensor:
        return values if self.valid is None else torch.where(self.valid, values, 0)

    def sum(self, values: Tensor) -> Tensor:
        """Sum the values of each row."""
        if self.valid is not None:
            return self.mask(values)
        return values.new_zeros(self.num_rows).index_add_(0, self.rows, values)

    def in_block(self, block: Block, values: Tensor) -> tuple[Tensor, Tensor]:
        """Columns within the block and ``values`` (n, D) of the pairs that they are in; zeros for other pairs, where to
        leave these out would synchronise with the device."""
        places = self.columns - block.start
        inside = (places >= 0) & (places < block.stop - block.start)
        if host.readable(places):
            chosen = inside.nonzero()[:, 0]
            return places[chosen], values[chosen]
        return places.clamp(0, block.stop - block.start - 1), values * inside[:, None]
