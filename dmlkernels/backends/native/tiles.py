"""Tiles computed by the C++ engine: the scores, their epilogue and the products of the gradients in one call."""

from __future__ import annotations

from functools import cache, lru_cache

import torch
from torch import Tensor

from dmlkernels.backends.blocked.columns import Columns
from dmlkernels.backends.blocked.rows import Rows
from dmlkernels.backends.native import module
from dmlkernels.backends.native.terms import class_ids, compact, terms
from dmlkernels.backends.pairs import Pairs
from dmlkernels.statistics import Statistic


@cache
def kernels() -> module.compiled.Kernels:
    """The best the processor can run."""
    return module.compiled.kernels()[0]


@lru_cache(maxsize=64)
def empty_state(statistic: Statistic) -> Tensor:  # (1, width) float64
    """The statistics of a row before any column."""
    return torch.stack(statistic.empty(1, torch.empty(0, dtype=torch.float64)), dim=1)


class _Tiles:
    """One tile's description, changed from tile to tile. Addresses are valid as long as this object lives."""

    def __init__(self, pairs: Pairs, rows: Rows) -> None:
        self._statistic, self._rows = pairs.statistic, rows
        self._units = rows.units.contiguous()
        self._ids = class_ids(rows.labels)
        self._labels = None if rows.labels is None else compact(rows.labels, self._ids)
        self._workspace = module.compiled.Workspace()
        self._tile = tile = module.compiled.Tile()
        tile.wide = self._units.dtype == torch.float64
        tile.dim, tile.views, tile.width = pairs.dim, pairs.statistic.views, pairs.statistic.width
        tile.row_values = pairs.statistic.num_row_values
        tile.threads = torch.get_num_threads()
        tile.rows.view_stride = self._units.stride(0) if self._units.dim() == 3 else 0
        self._per_row: dict[str, Tensor] = {"units": self._units}
        if self._labels is not None:
            self._per_row["labels"] = self._labels
        if rows.values is not None:
            self._per_row["row_values"] = rows.values.contiguous()

    def _show_rows(self, side: module.compiled.Side, i: int) -> None:
        """Describe row block i."""
        block = self._rows.blocks[i]
        side.size = block.stop - block.start
        for name, values in self._per_row.items():
            dim = -2 if values.dim() > 1 else 0
            setattr(side, name, values.data_ptr() + block.start * values.stride(dim) * values.element_size())

    def _show_within(self, i: int, j: int) -> bool:
        """Describe row block i against row block j; whether a second, mirrored tile must follow."""
        self._show_rows(self._tile.rows, i)
        self._show_rows(self._tile.columns, j)
        self._tile.diagonal = i == j
        both_ends = self._statistic.symmetric
        self._set_terms(self._rows.blocks[i].segment, self._rows.blocks[j].segment, both_ends)
        return i != j and not both_ends

    def _show_columns(self, columns: Columns, i: int) -> tuple[Tensor | None, ...]:
        """Describe row block i against these columns; gives what must be kept until the tile is done."""
        tile, side = self._tile, self._tile.columns
        self._show_rows(tile.rows, i)
        labels, weights = columns.labels, columns.given_weights
        if isinstance(labels, range):
            labels = torch.arange(labels.start, labels.stop)
        labels = None if labels is None else compact(labels, self._ids)
        weights = None if weights is None else weights.contiguous()
        units = columns.units.contiguous()
        tile.diagonal, tile.group = False, self._statistic.group
        side.units, side.size = units.data_ptr(), units.shape[0]
        side.labels = 0 if labels is None else labels.data_ptr()
        side.weights = 0 if weights is None else weights.data_ptr()
        self._set_terms(self._rows.blocks[i].segment, columns.segment, both_ends=False)
        return units, labels, weights

    def _set_terms(self, row_segment: int, column_segment: int, both_ends: bool) -> None:
        self._tile.set_terms(terms(self._statistic, row_segment, column_segment, both_ends))


class Fold(_Tiles):
    """Keeps the states of all rows in float64: statistics of the columns so far."""

    def __init__(self, pairs: Pairs, rows: Rows) -> None:
        super().__init__(pairs, rows)
        self._states = empty_state(pairs.statistic).repeat(rows.units.shape[-2], 1)
        self._per_row["states"] = self._states

    def within(self, i: int, j: int) -> bool:
        has_grad = False
        for first, second in ((i, j), (j, i)):
            mirrored = self._show_within(first, second)
            has_grad |= kernels().fold(self._tile, self._workspace)
            if not mirrored:
                break
        return has_grad

    def columns(self, columns: Columns, i: int) -> None:
        kept = self._show_columns(columns, i)
        kernels().fold(self._tile, self._workspace)
        del kept

    def finish(self) -> Tensor:
        return self._states.to(self._units.dtype)


class Slope(_Tiles):
    """Slopes from the finished statistics and the gradient that came back."""

    def __init__(self, pairs: Pairs, rows: Rows, statistics: Tensor, gradient: Tensor) -> None:
        super().__init__(pairs, rows)
        self._per_row["statistics"] = statistics.to(self._units.dtype).contiguous()
        self._per_row["gradient"] = gradient.to(self._units.dtype).contiguous()

    def within(self, i: int, j: int, of_rows: Tensor) -> None:
        self._per_row["of_units"] = of_rows
        for first, second in ((i, j), (j, i)):
            mirrored = self._show_within(first, second)
            kernels().slope(self._tile, self._workspace)
            if not mirrored:
                break

    def columns(self, columns: Columns, i: int, of_rows: Tensor | None, of_units: Tensor | None) -> None:
        self._per_row.pop("of_units", None)
        self._tile.rows.of_units = 0
        if of_rows is not None:
            self._per_row["of_units"] = of_rows
        kept = self._show_columns(columns, i)
        self._tile.columns.of_units = 0 if of_units is None else of_units.data_ptr()
        kernels().slope(self._tile, self._workspace)
        del kept
