"""A block of columns as the tiles want it: normalised, its groups laid out for contiguous sums."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dmlkernels.backends.blocked.normalise import normalisation_backward, normalise
from dmlkernels.backends.blocked.plan import Block
from dmlkernels.backends.blocked.rows import Rows
from dmlkernels.backends.pairs import Pairs
from dmlkernels.statistics import Tile


class Columns:
    """Unit columns of one block. Groups of k columns are laid out (k, c), so that sums over a group are contiguous."""

    def __init__(self, pairs: Pairs, block: Block) -> None:
        assert pairs.columns is not None, "column blocks come from columns"
        self._statistic, self._segment = pairs.statistic, block.segment
        self._group = pairs.statistic.group
        self.span = slice(block.start * self._group, block.stop * self._group)
        self._raw = self._swap(pairs.columns[self.span], self._group)
        self.units = normalise(self._raw, pairs.dtype)
        self._labels: Tensor | None = None
        if pairs.statistic.reads_labels:
            if pairs.column_labels is None:
                self._labels = torch.arange(block.start, block.stop, device=self.units.device)
            else:
                self._labels = pairs.column_labels[block.slice]
        self._weights = None if pairs.column_weights is None else pairs.column_weights[block.slice].to(pairs.dtype)

    @property
    def weights(self) -> Tensor:  # (c, 1)
        """Weights of these columns, to multiply their vectors."""
        assert self._weights is not None, "this statistic needs column_weights"
        return self._weights[:, None]

    def met_by(self, rows: Rows) -> Iterator[int]:
        """Row blocks that these columns concern."""
        for i, block in enumerate(rows.blocks):
            if self._statistic.meets(block.segment, self._segment):
                yield i

    def tile(self, rows: Rows, i: int) -> Tile:
        """Scores of row block i."""
        scores = rows.unit_block(i) @ self.units.mT
        if self._group > 1:
            scores = scores.view(scores.shape[0], self._group, -1)
        elif self._statistic.views > 1:
            scores = scores.view(self._statistic.views, -1, scores.shape[1])
        own, excluded = rows.match(i, self._labels)
        return Tile(scores, own, excluded, self._weights, rows.blocks[i].segment, self._segment)

    def gradient(self, of_units: Tensor) -> Tensor:
        """Gradient of the raw columns of this block, in their order, from that of the unit columns."""
        gradient = normalisation_backward(self._raw, self.units, of_units)
        return self._swap(gradient, gradient.shape[0] // self._group)

    def _swap(self, columns: Tensor, inner: int) -> Tensor:
        """Transpose the two levels of (outer, inner) columns."""
        if self._group == 1:
            return columns
        return columns.reshape(-1, inner, columns.shape[1]).transpose(0, 1).reshape(columns.shape)
