"""A block of columns as the tiles want it: normalised, its groups laid out for contiguous sums."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from dmlkernels.backends.blocked import host
from dmlkernels.backends.blocked.matching import match
from dmlkernels.backends.blocked.normalise import Norms
from dmlkernels.backends.blocked.plan import Block
from dmlkernels.backends.blocked.rows import Rows
from dmlkernels.backends.pairs import Pairs
from dmlkernels.statistics import IGNORED, Tile


class Columns:
    """Unit columns of one block. Groups of k columns are laid out (k, c), so that sums over a group are contiguous."""

    def __init__(self, pairs: Pairs, block: Block, norms: Norms) -> None:
        self._norms = norms
        assert pairs.columns is not None, "column blocks come from columns"
        self._statistic, self.segment = pairs.statistic, block.segment
        self._group = pairs.statistic.group
        self.span = slice(block.start * self._group, block.stop * self._group)
        raw = self._swap(pairs.columns[self.span], self._group)
        self._kept: Tensor | None = None  # of a block with ignored columns, on a CPU
        self.labels = self._labels_of(pairs, block)
        if isinstance(self.labels, Tensor):
            ignored = self.labels == IGNORED
            of_columns = ignored.repeat(self._group)
            if not host.readable(ignored):
                raw = raw.masked_fill(of_columns[:, None], 0.0)
            elif ignored.any():
                self._kept = (~of_columns).nonzero()[:, 0]
                raw, self.labels = raw[self._kept], self.labels[~ignored]
        self.units, self._inverse = norms.normalise(raw, pairs.dtype)
        self._weights = self._weights_of(pairs)

    @property
    def weights(self) -> Tensor:  # (c, 1)
        """Weights of these columns, to multiply their vectors."""
        assert self._weights is not None, "this statistic reads weights"
        return self._weights[:, None]

    def met_by(self, rows: Rows) -> Iterator[int]:
        """Row blocks that these columns concern; none if every column is ignored."""
        for i, block in enumerate(rows.blocks):
            if self.units.shape[0] and self._statistic.meets(block.segment, self.segment):
                yield i

    def tile(self, rows: Rows, i: int) -> Tile:
        """Scores of row block i."""
        scores = rows.unit_block(i) @ self.units.mT
        if self._group > 1:
            scores = scores.view(scores.shape[0], self._group, -1)
        elif self._statistic.views > 1:
            scores = scores.view(self._statistic.views, -1, scores.shape[1])
        positives, not_negatives = match(rows.label_block(i), self.labels)
        return Tile(
            scores, positives, not_negatives, self._weights, rows.value_block(i),
            rows.blocks[i].segment, self.segment,
        )  # fmt: skip

    def gradient(self, of_units: Tensor) -> Tensor:
        """Gradient of the raw columns of this block, in their order, from that of the unit columns."""
        gradient = self._norms.normalisation_backward(self.units, self._inverse, of_units)
        if self._kept is not None:
            whole = gradient.new_zeros(self.span.stop - self.span.start, gradient.shape[1])
            gradient = whole.index_copy_(0, self._kept, gradient)
        return self._swap(gradient, gradient.shape[0] // self._group)

    @staticmethod
    def _labels_of(pairs: Pairs, block: Block) -> Tensor | range | None:
        if not pairs.statistic.reads_labels:
            return None
        if pairs.column_labels is None:
            return range(block.start, block.stop)
        return pairs.column_labels[block.slice]

    def _weights_of(self, pairs: Pairs) -> Tensor | None:
        weights = pairs.weights(self.span.start, self.span.stop)
        return weights if weights is None or self._kept is None else weights[self._kept]

    def _swap(self, columns: Tensor, inner: int) -> Tensor:
        """Transpose the two levels of (outer, inner) columns."""
        if self._group == 1:
            return columns
        return columns.reshape(-1, inner, columns.shape[1]).transpose(0, 1).reshape(columns.shape)
