"""Which entries of a tile are positive pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.backends.blocked import host
from dmlkernels.statistics.tile import IGNORED, LabelPairs, ListedPairs, MaskedPairs


def match(
    rows: Tensor | None, columns: Tensor | range | None, *, diagonal: bool = False
) -> tuple[LabelPairs | None, LabelPairs | None]:
    """``positives`` and ``not_negatives`` (see Tile) of a block of row labels and a block of column labels, if there
    are labels.

    On a CPU the pairs are listed, since they are few; elsewhere masked, since listing would synchronise.

    Args:
        columns: labels, or a range if columns have consecutive classes.
        diagonal: rows and columns are the same points, whose pairs with themselves are not_negatives.
    """
    if rows is None or columns is None:
        return None, None
    return _listed(rows, columns, diagonal) if host.readable(rows) else _masked(rows, columns, diagonal)


def list_pairs(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Indices (i, j) of all equal labels, without a rows x columns comparison."""
    ordered, order = columns.sort(stable=True)
    first, counts = _runs(rows, ordered)
    i = torch.repeat_interleave(counts)
    ends = counts.cumsum(0)
    rank = torch.arange(i.shape[0], device=i.device) - (ends - counts)[i]
    return i, order[first[i] + rank]


def count_pairs(rows: Tensor, columns: Tensor) -> int:
    """How many equal labels there are; read on the host."""
    return int(_runs(rows, columns.sort().values)[1].sum())


def _runs(rows: Tensor, ordered: Tensor) -> tuple[Tensor, Tensor]:
    """Where each row's run of equal labels begins among ordered column labels, and its length."""
    first = torch.searchsorted(ordered, rows)
    return first, torch.searchsorted(ordered, rows, right=True) - first


def _listed(rows: Tensor, columns: Tensor | range, diagonal: bool) -> tuple[LabelPairs, LabelPairs]:
    shape = (rows.shape[0], len(columns))
    if isinstance(columns, range):
        i = ((rows >= columns.start) & (rows < columns.stop)).nonzero()[:, 0]
        j = rows[i] - columns.start
    else:
        i, j = list_pairs(rows, columns)
    not_negatives = ListedPairs(i, j, shape)
    if not diagonal:
        return not_negatives, not_negatives
    apart = i != j
    return ListedPairs(i[apart], j[apart], shape), not_negatives


def _masked(rows: Tensor, columns: Tensor | range, diagonal: bool) -> tuple[LabelPairs, LabelPairs]:
    if isinstance(columns, range):
        columns = torch.arange(columns.start, columns.stop, device=rows.device)
    rows, columns = rows[:, None], columns[None, :]
    ignored = (rows == IGNORED) | (columns == IGNORED)  # either, since the tile may be seen from its columns too
    same = (rows == columns) & ~ignored
    itself = torch.eye(*same.shape, dtype=torch.bool, device=same.device) if diagonal else torch.zeros_like(same)
    return MaskedPairs(same & ~itself), MaskedPairs(same | itself | ignored)
