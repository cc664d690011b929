"""Statistics and labels in the C++ engine's words."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.backends.native import module
from dmlkernels.statistics import Statistic, Term

_INT32 = torch.iinfo(torch.int32)


def terms(statistic: Statistic, row_segment: int, column_segment: int, both_ends: bool) -> list[module.compiled.Term]:
    """What a tile of these segments is folded to; with ``both_ends`` its pairs count for the columns too."""
    return [
        _compiled(term, both_ends)
        for term in statistic.terms(row_segment, column_segment)
        if term.for_rows or (term.for_columns and both_ends)
    ]


def class_ids(row_labels: Tensor | None) -> Tensor | None:
    """The distinct row labels if they do not fit the engine's 32 bits, to number them by; else None."""
    if row_labels is None or row_labels.numel() == 0:
        return None
    low, high = (int(bound) for bound in row_labels.aminmax())
    return None if _INT32.min + 2 <= low and high <= _INT32.max else row_labels.unique()


def compact(labels: Tensor, ids: Tensor | None) -> Tensor:
    """Labels as the engine takes them; -1 for one that no row has."""
    labels = labels.contiguous()
    if ids is None:
        return labels
    place = torch.searchsorted(ids, labels).clamp_max_(ids.shape[0] - 1)
    return torch.where(ids[place] == labels, place, -1)


def _compiled(term: Term, both_ends: bool) -> module.compiled.Term:
    compiled, parameters = module.compiled.Term(), term.statistic.parameters()
    compiled.kind = getattr(module.compiled.Kind, term.statistic.name)
    compiled.parameters = parameters + [0.0] * (5 - len(parameters))
    compiled.first = term.columns.start
    compiled.from_rows, compiled.from_columns = term.for_rows, term.for_columns and both_ends
    return compiled
