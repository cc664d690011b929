"""A tile of scores and the label pairs in it, in two forms that a statistic reads without knowing which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

IGNORED = torch.iinfo(torch.int64).min
"""Label of a row that takes part in nothing. No class can have it: public functions map ``ignore_index`` to it."""


class LabelPairs(Protocol):
    """A subset of a tile's entries, with the few operations a statistic needs on it.

    ``gather`` brings the tile's scores, and ``broadcast`` a per-row vector, into a layout private to the class;
    ``row_sum``, ``row_max`` and ``scatter_`` accept values in that layout.
    """

    def gather(self, scores: Tensor) -> Tensor: ...

    def broadcast(self, per_row: Tensor) -> Tensor: ...

    def row_sum(self, values: Tensor) -> Tensor: ...

    def row_max(self, values: Tensor) -> Tensor: ...

    def scatter_(self, target: Tensor, values: Tensor) -> None: ...

    def fill_(self, target: Tensor, value: float) -> None: ...

    def mirror(self) -> LabelPairs: ...

    def any(self) -> bool: ...


@dataclass(frozen=True)
class ListedPairs:
    """Entries as index lists: cheap when they are few, as positive pairs are. Making one reads values on the host."""

    rows: Tensor  # (n,)
    columns: Tensor  # (n,)
    shape: tuple[int, int]

    def any(self) -> bool:
        return self.rows.shape[0] > 0

    def gather(self, scores: Tensor) -> Tensor:
        return scores[self.rows, self.columns]

    def broadcast(self, per_row: Tensor) -> Tensor:
        return per_row[self.rows]

    def row_sum(self, values: Tensor) -> Tensor:
        return values.new_zeros(self.shape[0]).index_add_(0, self.rows, values)

    def row_max(self, values: Tensor) -> Tensor:
        lowest = values.new_full((self.shape[0],), -torch.inf)
        return lowest.scatter_reduce_(0, self.rows, values, "amax")

    def scatter_(self, target: Tensor, values: Tensor) -> None:
        target.index_put_((self.rows, self.columns), values)

    def fill_(self, target: Tensor, value: float) -> None:
        if self.any():
            self.scatter_(target, target.new_tensor(value))

    def mirror(self) -> ListedPairs:
        return ListedPairs(self.columns, self.rows, (self.shape[1], self.shape[0]))


@dataclass(frozen=True)
class MaskedPairs:
    """Entries as a boolean tile: nothing is read on the host, so a CUDA stream never waits."""

    mask: Tensor  # (b, c)

    def gather(self, scores: Tensor) -> Tensor:
        return scores

    def broadcast(self, per_row: Tensor) -> Tensor:
        return per_row[:, None]

    def row_sum(self, values: Tensor) -> Tensor:
        return torch.where(self.mask, values, 0).sum(1)

    def row_max(self, values: Tensor) -> Tensor:
        return torch.where(self.mask, values, -torch.inf).amax(1)

    def scatter_(self, target: Tensor, values: Tensor) -> None:
        target.copy_(torch.where(self.mask, values, target))

    def fill_(self, target: Tensor, value: float) -> None:
        target.masked_fill_(self.mask, value)

    def mirror(self) -> MaskedPairs:
        return MaskedPairs(self.mask.mT)

    def any(self) -> bool:
        return bool(self.mask.any())


@dataclass(frozen=True)
class Tile:
    """Scores of a block of rows against a block of columns.

    ``scores`` is (b, c); (2, b, c) for a statistic of two views; (b, k, c) for one over c groups of k columns.
    ``positives`` are the same-class pairs without a point's pair with itself. ``not_negatives`` are those, the self
    pairs and ignored columns: whatever is not a negative. Both are absent for a statistic that reads no labels.
    Segments count the parts that rows and columns were joined from, so that a fused statistic knows what meets what.
    """

    scores: Tensor
    positives: LabelPairs | None = None
    not_negatives: LabelPairs | None = None
    weights: Tensor | None = None  # (c,)
    row_values: Tensor | None = None  # (b, num_row_values)
    row_segment: int = 0
    column_segment: int = 0

    @property
    def label_pairs(self) -> tuple[LabelPairs, LabelPairs]:
        """``(positives, not_negatives)``, for a statistic that cannot do without."""
        if self.positives is None or self.not_negatives is None:
            raise TypeError("this statistic needs row_labels and column_labels")
        return self.positives, self.not_negatives

    @property
    def row_options(self) -> tuple[Tensor, ...]:
        """Each of the row values as (b, 1), for a statistic that cannot do without."""
        if self.row_values is None:
            raise TypeError("this statistic needs row_values")
        return self.row_values.split(1, dim=1)

    def mirror(self) -> Tile:
        """The same pairs seen from the columns."""
        positives, not_negatives = self.label_pairs
        return Tile(
            self.scores.mT,
            positives.mirror(),
            not_negatives.mirror(),
            row_segment=self.column_segment,
            column_segment=self.row_segment,
        )
