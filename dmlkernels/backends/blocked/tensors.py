"""Tiles as plain tensor operations: the statistic's own fold and slope, on any device."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.backends.blocked import host
from dmlkernels.backends.blocked.columns import Columns
from dmlkernels.backends.blocked.rows import Rows
from dmlkernels.backends.pairs import Pairs
from dmlkernels.statistics import Tile
from dmlkernels.statistics.base import State


class Fold:
    """Keeps the state of every row block."""

    def __init__(self, pairs: Pairs, rows: Rows) -> None:
        self._statistic, self._rows = pairs.statistic, rows
        self._may_skip = pairs.statistic.sparse and host.readable(pairs.rows)
        self._states: list[State | None] = [None] * len(rows.blocks)

    def within(self, i: int, j: int) -> bool:
        tile = _tile_within(self._rows, i, j)
        if i == j:
            self._merge(i, self._statistic.fold(tile))
            return True
        flat = self._statistic.flat_both(tile) if self._may_skip else None
        of_rows, of_columns = self._statistic.fold_both(tile) if flat is None else flat
        self._merge(i, of_rows)
        self._merge(j, of_columns)
        return flat is None

    def columns(self, columns: Columns, i: int) -> None:
        self._merge(i, self._statistic.fold(columns.tile(self._rows, i)))

    def finish(self) -> Tensor:
        finished = [self._rows.units.new_empty(0, self._statistic.width)]
        for block, state in zip(self._rows.blocks, self._states, strict=True):
            if state is None:
                state = self._statistic.empty(block.stop - block.start, self._rows.units)
            finished.append(torch.stack(state, dim=1))
        return torch.cat(finished)

    def _merge(self, i: int, state: State) -> None:
        known = self._states[i]
        self._states[i] = state if known is None else self._statistic.merge(known, state)


class Slope:
    """Takes slopes from the finished statistics and the gradient that came back."""

    def __init__(self, pairs: Pairs, rows: Rows, statistics: Tensor, gradient: Tensor) -> None:
        self._statistic, self._rows = pairs.statistic, rows
        self._sides = [(statistics[block.slice], gradient[block.slice]) for block in rows.blocks]

    def within(self, i: int, j: int, of_rows: Tensor) -> None:
        tile, units = _tile_within(self._rows, i, j), self._rows.units
        first, second = self._rows.blocks[i].slice, self._rows.blocks[j].slice
        if i == j:
            slope = self._statistic.slope(tile, *self._sides[i])
            of_rows[first].addmm_(slope + slope.mT, units[first])
        else:
            slope = self._statistic.slope_both(tile, self._sides[i], self._sides[j])
            of_rows[first].addmm_(slope, units[second])
            of_rows[second].addmm_(slope.mT, units[first])

    def columns(self, columns: Columns, i: int, of_rows: Tensor | None, of_units: Tensor | None) -> None:
        slope = self._statistic.slope(columns.tile(self._rows, i), *self._sides[i])
        slope = slope.reshape(-1, columns.units.shape[0])
        if of_rows is not None:
            target = of_rows[..., self._rows.blocks[i].slice, :]
            if target.dim() == 2:
                target.addmm_(slope, columns.units)
            else:
                target += (slope @ columns.units).view_as(target)
        if of_units is not None:
            of_units.addmm_(slope.mT, self._rows.unit_block(i))


def _tile_within(rows: Rows, i: int, j: int) -> Tile:
    first, second = rows.blocks[i], rows.blocks[j]
    scores = rows.units[first.slice] @ rows.units[second.slice].mT
    positives, not_negatives = rows.match(i, rows.label_block(j), diagonal=i == j)
    return Tile(scores, positives, not_negatives, row_segment=first.segment, column_segment=second.segment)
