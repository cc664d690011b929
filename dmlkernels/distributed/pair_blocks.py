"""The pairs of two blocks of points: sums over them, and the gradients of both blocks from those of the sums."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from dmlkernels import backends
from dmlkernels.ops.pairs import pair_backward, pair_forward
from dmlkernels.statistics import Field, Fused, Moments, Statistic

TOTAL = Fused.width
"""Numbers of the sums over all pairs, in the order of ``Fused``."""

MOMENTS = slice(0, Moments.width)
ENERGY = Moments.width
NUM_POINTS = TOTAL - 1
"""Their places. The last is that of the squares against atoms, which are no points."""

_PLACES = {
    Moments.name: MOMENTS,
    Field.name: slice(ENERGY, ENERGY + 1),
    Fused.name: slice(0, TOTAL),
}


class Points(NamedTuple):
    """Some points of one kind: samples or proxies."""

    vectors: Tensor  # (N, D)
    labels: Tensor  # (N,) int64, IGNORED allowed

    def cut(self, span: slice) -> Points:
        """A run of them."""
        return Points(self.vectors[span], self.labels[span])


class PairBlock(NamedTuple):
    """Every pair of a row and a column; without columns every unordered pair of two rows."""

    statistic: Statistic
    backend: str
    rows: Points
    columns: Points | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is no pair."""
        if self.columns is None:
            return self.rows.vectors.shape[0] < 2
        return 0 in (self.rows.vectors.shape[0], self.columns.vectors.shape[0])

    def forward(self) -> tuple[Tensor, Tensor]:  # (TOTAL,), and what backward wants
        """The sums over these pairs."""
        statistics, saved = pair_forward(*self._arguments())
        total = statistics.new_zeros(TOTAL)
        # Rows among themselves count each pair from both ends.
        total[self._place] = pool(statistics, self.statistic.width > Field.width, ends=2 if self.columns is None else 1)
        return total, saved

    def backward(
        self, saved: Tensor, total: Tensor, gradient: Tensor, needs_rows: bool, needs_columns: bool
    ) -> tuple[Tensor, Tensor]:
        """Gradients of rows and columns; an empty tensor where not needed.

        Args:
            saved: from ``forward``.
            total: (TOTAL,) the sums over all pairs of all ranks. The slope of a pooled moment is affine in the score
                with coefficients of the whole: no row's own moments are needed.
            gradient: (TOTAL,) of ``total``.
        """
        once = gradient if self.columns is not None else gradient / 2
        per_row = (self.rows.vectors.shape[0], -1)
        rows, columns, _ = pair_backward(
            total[self._place].expand(per_row).contiguous(), saved, once[self._place].expand(per_row).contiguous(),
            needs_rows, needs_columns and self.columns is not None, False, *self._arguments(),
        )  # fmt: skip
        return rows, columns

    @property
    def _place(self) -> slice:
        return _PLACES[self.statistic.name]

    def _arguments(self) -> tuple[object, ...]:
        vectors, labels = (None, None) if self.columns is None else self.columns
        weights = None
        if vectors is not None and self.statistic.reads_weights:
            weights = vectors.new_zeros(vectors.shape[0])  # of atoms, which these columns are not
        return (
            self.rows.vectors, vectors, None, self.rows.labels, labels, weights, self.columns is None, False, (), (),
            self.statistic.name, [float(value) for value in self.statistic.parameters()],
            backends.resolve(self.backend, self.rows.vectors.device.type, self.statistic.name),
        )  # fmt: skip


def pool(statistics: Tensor, has_moments: bool, ends: int = 1) -> Tensor:  # (N, width) -> (width,)
    """Merge statistics of disjoint sets of pairs: moments as ``Moments.merge`` does, energies as sums.

    Args:
        ends: how often each pair was counted.
    """
    if not has_moments:
        return statistics.sum(0) / ends
    moments = statistics[:, : Moments.width].unflatten(1, (2, 3))
    count, mean, deviation = moments.unbind(2)  # each (N, 2): genuine, impostor
    total = count.sum(0)
    pooled_mean = (count * mean).sum(0) / total.clamp_min(1)
    pooled_deviation = torch.addcmul(deviation, count, (mean - pooled_mean).square()).sum(0)
    pooled = torch.stack((total / ends, pooled_mean, pooled_deviation / ends), dim=1).flatten()
    return torch.cat((pooled, statistics[:, Moments.width :].sum(0) / ends))


def pool_totals(totals: Iterable[Tensor], like: Tensor) -> Tensor:  # each (TOTAL,)
    """Merge the sums over disjoint sets of pairs, in the order given."""
    return pool(torch.stack((like.new_zeros(TOTAL), *totals)), True)
