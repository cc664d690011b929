"""Tiles of scores, one at a time, as plain tensor operations: fold forward; recompute and take slopes backward."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dmlkernels.backends.blocked import host, normalise
from dmlkernels.backends.blocked.columns import Columns
from dmlkernels.backends.blocked.matching import match
from dmlkernels.backends.blocked.plan import num_row_blocks, scored_column_blocks
from dmlkernels.backends.blocked.rows import Rows
from dmlkernels.backends.pairs import Forward, Gradients, Pairs
from dmlkernels.statistics import Tile
from dmlkernels.statistics.base import State


def saved_shape(pairs: Pairs) -> tuple[int, ...]:
    """A flag per tile of a sparse statistic among points: whether its slope is anywhere non-zero."""
    if not (pairs.within and pairs.statistic.sparse):
        return (0,)
    count = num_row_blocks(pairs)
    return (count, count)


def forward(pairs: Pairs) -> Forward:
    """Finished statistics of every row."""
    rows = Rows(pairs, normalise)
    fold = _Fold(pairs, rows)
    has_grad = rows.units.new_ones(saved_shape(pairs))
    for i, j in _tiles_within(pairs, rows):
        if not fold.within(i, j):
            has_grad[i, j] = 0.0
    for block in scored_column_blocks(pairs):
        columns = Columns(pairs, block, normalise)
        for i in columns.met_by(rows):
            fold.columns(columns, i)
    return Forward(rows.scatter(fold.finish()), has_grad)


def backward(pairs: Pairs, forward: Forward, gradient: Tensor, needs_rows: bool, needs_columns: bool) -> Gradients:
    """Gradients of rows and columns from that of the statistics."""
    rows = Rows(pairs, normalise)
    slope = _Slope(pairs, rows, rows.gather(forward.statistics), rows.gather(gradient))
    of_rows = _zeros_like(rows.units) if needs_rows else None
    may_skip = _may_skip(pairs)
    for i, j in _tiles_within(pairs, rows):
        if of_rows is not None and not (may_skip and not forward.saved[i, j]):
            slope.within(i, j, of_rows)
    of_columns = None
    if pairs.columns is not None and needs_columns:
        of_columns = pairs.columns.new_empty(pairs.columns.shape)  # contiguous, as the op promises
    for block in scored_column_blocks(pairs):
        columns = Columns(pairs, block, normalise)
        of_units = None if of_columns is None else _zeros_like(columns.units)
        for i in columns.met_by(rows):
            slope.columns(columns, i, of_rows, of_units)
        if of_columns is not None and of_units is not None:
            of_columns[columns.span] = columns.gradient(of_units)
    return Gradients(None if of_rows is None else rows.gradient(of_rows), of_columns)


def _may_skip(pairs: Pairs) -> bool:
    """Whether tiles are left out whose slope is zero, as flags read on the host say."""
    return pairs.statistic.sparse and host.readable(pairs.rows)


def _zeros_like(units: Tensor) -> Tensor:
    return torch.zeros_like(units, memory_format=torch.contiguous_format)


def _tiles_within(pairs: Pairs, rows: Rows) -> Iterator[tuple[int, int]]:
    """The tiles on and above the diagonal: each pair once."""
    for i in range(len(rows.blocks) if pairs.within else 0):
        for j in range(i, len(rows.blocks)):
            yield i, j


class _Fold:
    """Folds tiles to the state of every row block."""

    def __init__(self, pairs: Pairs, rows: Rows) -> None:
        self._statistic, self._rows = pairs.statistic, rows
        self._may_skip = _may_skip(pairs)
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


class _Slope:
    """Multiplies the slopes of tiles into the gradients of unit rows and unit columns."""

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
    positives, not_negatives = match(rows.label_block(i), rows.label_block(j), diagonal=i == j)
    return Tile(scores, positives, not_negatives, row_segment=first.segment, column_segment=second.segment)
