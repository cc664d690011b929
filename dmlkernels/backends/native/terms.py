"""Statistics and labels in the C++ engine's words."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dmlkernels.backends.native import module
from dmlkernels.statistics import Field, Fused, Moments, Statistic

_INT32 = torch.iinfo(torch.int32)


def terms(statistic: Statistic, row_segment: int, column_segment: int, both_ends: bool) -> list[module.compiled.Term]:
    """What a tile of these segments is folded to; with ``both_ends`` its pairs count for the columns too."""
    return [
        _term(part, first, here, there and both_ends)
        for part, first, here, there in _parts(statistic, row_segment, column_segment)
        if here or (there and both_ends)
    ]


def serves_both_ends(statistic: Statistic) -> bool:
    """Whether the engine can fold a tile for its rows and its columns at once."""
    return isinstance(statistic, Field | Fused | Moments)


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


def _parts(statistic: Statistic, row_segment: int, column_segment: int) -> Iterator[tuple[Statistic, int, bool, bool]]:
    if isinstance(statistic, Fused):
        for part, place, here, there in statistic.applicable(row_segment, column_segment):
            yield part, place.start, here, there
    else:
        yield statistic, 0, True, True


def _term(statistic: Statistic, first: int, from_rows: bool, from_columns: bool) -> module.compiled.Term:
    term = module.compiled.Term()
    parameters = statistic.parameters()
    term.kind = getattr(module.compiled.Kind, statistic.name)
    term.parameters = parameters + [0.0] * (5 - len(parameters))
    term.first, term.from_rows, term.from_columns = first, from_rows, from_columns
    return term
