"""The rows of a problem as the tiles want them: normalised, without ignored ones, sorted by class where that pays."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.backends.blocked import host
from dmlkernels.backends.blocked.normalise import Norms
from dmlkernels.backends.blocked.plan import Block, row_blocks
from dmlkernels.backends.pairs import Pairs
from dmlkernels.statistics import IGNORED


class Rows:
    """Unit rows in blocks, and the way back to the order in which they came.

    On a CPU ignored rows are dropped, and points that meet each other are sorted by class within their segment, so
    that positive pairs gather in few tiles. Elsewhere that would synchronise: rows stay, ignored ones as zeros.
    """

    def __init__(self, pairs: Pairs, norms: Norms, raw: Tensor | None = None) -> None:
        """``raw`` are the rows in the dtype that they came in, if the pairs have them in a wider one."""
        self._norms = norms
        self._original = pairs.rows if raw is None else raw
        self._order: Tensor | None = None
        self.labels = pairs.row_labels
        boundaries: tuple[int, ...] = pairs.row_boundaries
        if self.labels is not None and host.readable(self.labels):
            self._order, boundaries = _order(self.labels, boundaries, by_class=pairs.within)
        if self._order is not None and self.labels is not None:
            self.labels = self.labels[self._order]
        self.units, self._inverse = norms.normalise(self.gather(self._original, dim=-2), pairs.dtype)  # (..., R', D)
        if self.labels is not None and not host.readable(self.labels):
            self.units.masked_fill_((self.labels == IGNORED)[:, None], 0.0)
        self.values = None if pairs.row_values is None else self.gather(pairs.row_values.to(pairs.dtype))
        self.blocks: list[Block] = row_blocks(pairs, self.units.shape[-2], boundaries)

    def unit_block(self, i: int) -> Tensor:
        """Unit rows of block i, views below each other: (views * b, D)."""
        return self.units[..., self.blocks[i].slice, :].reshape(-1, self.units.shape[-1])

    def label_block(self, i: int) -> Tensor | None:
        return None if self.labels is None else self.labels[self.blocks[i].slice]

    def value_block(self, i: int) -> Tensor | None:
        return None if self.values is None else self.values[self.blocks[i].slice]

    def gather(self, per_row: Tensor, dim: int = 0) -> Tensor:
        """Bring per-row values from the caller's order into this one."""
        return per_row if self._order is None else per_row.index_select(dim, self._order)

    def scatter(self, per_row: Tensor) -> Tensor:
        """Bring per-row values back; ignored rows get zeros."""
        return self._cleared(per_row) if self._order is None else self._restore(per_row, self._order)

    def gradient(self, of_units: Tensor) -> Tensor:
        """Gradient of the caller's rows from that of the unit rows, which it overwrites; ignored rows get zeros."""
        gradient = self._norms.normalisation_backward(self.units, self._inverse, of_units).to(self._original.dtype)
        return self._cleared(gradient) if self._order is None else self._restore(gradient, self._order)

    def _cleared(self, per_row: Tensor) -> Tensor:
        """Zeros for rows that are ignored but still there."""
        if self.labels is None or host.readable(self.labels):
            return per_row
        return per_row.masked_fill_((self.labels == IGNORED)[:, None], 0.0)

    def _restore(self, per_row: Tensor, order: Tensor) -> Tensor:
        shape = (*per_row.shape[:-2], self._original.shape[-2], per_row.shape[-1])
        return per_row.new_zeros(shape).index_copy_(-2, order, per_row)


def _order(labels: Tensor, boundaries: tuple[int, ...], by_class: bool) -> tuple[Tensor | None, tuple[int, ...]]:
    """Indices of the rows that count, segment by segment, and where the segments begin; None if nothing moves."""
    if not by_class and not (labels == IGNORED).any():
        return None, boundaries
    kept = []
    for start, stop in zip((0, *boundaries), (*boundaries, labels.shape[0]), strict=True):
        segment = labels[start:stop]
        index = (segment != IGNORED).nonzero()[:, 0]
        if by_class:
            index = index[segment[index].argsort(stable=True)]
        kept.append(index + start)
    order = torch.cat(kept)
    new_boundaries = [sum(len(index) for index in kept[: i + 1]) for i in range(len(boundaries))]
    unmoved = torch.equal(order, torch.arange(labels.shape[0], device=labels.device))
    return (None, boundaries) if unmoved else (order, tuple(new_boundaries))
