"""Tiles of scores, one at a time: fold forward; recompute and take slopes backward."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dmlkernels.backends.blocked.columns import Columns
from dmlkernels.backends.blocked.plan import row_blocks, scored_column_blocks
from dmlkernels.backends.blocked.rows import Rows
from dmlkernels.backends.pairs import Forward, Gradients, Pairs
from dmlkernels.statistics import Tile


def memo_shape(pairs: Pairs) -> tuple[int, ...]:
    """A flag per tile of a sparse statistic among points: whether its slope is anywhere non-zero."""
    if not (pairs.within and pairs.statistic.sparse):
        return (0,)
    count = len(row_blocks(pairs, pairs.num_rows, pairs.row_splits))
    return (count, count)


def forward(pairs: Pairs) -> Forward:
    """Finished statistics of every row."""
    statistic, rows = pairs.statistic, Rows(pairs)
    acts = rows.units.new_ones(memo_shape(pairs))
    states = [statistic.empty(block.stop - block.start, rows.units) for block in rows.blocks]
    for i, j in _tiles_within(pairs, rows):
        tile = _tile_within(pairs, rows, i, j)
        if i == j:
            states[i] = statistic.merge(states[i], statistic.fold(tile))
            continue
        flat = statistic.flat_both(tile) if _may_skip(pairs) else None
        of_rows, of_columns = statistic.fold_both(tile) if flat is None else flat
        states[i], states[j] = statistic.merge(states[i], of_rows), statistic.merge(states[j], of_columns)
        if flat is not None:
            acts[i, j] = 0.0
    for block in scored_column_blocks(pairs):
        columns = Columns(pairs, block)
        for i in columns.met_by(rows):
            states[i] = statistic.merge(states[i], statistic.fold(columns.tile(rows, i)))
    finished = [statistic.finish(state) for state in states]
    return Forward(rows.give(torch.cat(finished or [rows.units.new_zeros(0, statistic.width)])), acts)


def backward(
    pairs: Pairs, forward: Forward, gradient: Tensor, needs_rows: bool, needs_columns: bool
) -> Gradients:
    """Gradients of rows and columns from that of the statistics."""
    statistic, rows = pairs.statistic, Rows(pairs)
    sides = list(_sides(rows, rows.take(forward.statistics), rows.take(gradient)))
    of_rows = torch.zeros_like(rows.units) if needs_rows else None
    for i, j in _tiles_within(pairs, rows) if of_rows is not None else ():
        if _may_skip(pairs) and not forward.memo[i, j]:
            continue
        tile = _tile_within(pairs, rows, i, j)
        first, second = rows.blocks[i].slice, rows.blocks[j].slice
        if i == j:
            slope = statistic.slope(tile, *sides[i])
            of_rows[first].addmm_(slope + slope.mT, rows.units[first])
        else:
            slope = statistic.slope_both(tile, sides[i], sides[j])
            of_rows[first].addmm_(slope, rows.units[second])
            of_rows[second].addmm_(slope.mT, rows.units[first])
    of_columns = None if pairs.columns is None or not needs_columns else torch.zeros_like(pairs.columns)
    for column_block in scored_column_blocks(pairs):
        columns = Columns(pairs, column_block)
        of_units = torch.zeros_like(columns.units)
        for i in columns.met_by(rows):
            slope = statistic.slope(columns.tile(rows, i), *sides[i])
            slope = slope.reshape(-1, columns.units.shape[0])
            if of_rows is not None:
                target = of_rows[..., rows.blocks[i].slice, :]
                target += (slope @ columns.units).view_as(target)
            if of_columns is not None:
                of_units.addmm_(slope.mT, rows.unit_block(i))
        if of_columns is not None:
            of_columns[columns.span] = columns.gradient(of_units)
    return Gradients(None if of_rows is None else rows.gradient(of_rows), of_columns)


def _may_skip(pairs: Pairs) -> bool:
    return pairs.statistic.sparse and pairs.rows.device.type == "cpu"


def _sides(rows: Rows, statistics: Tensor, gradient: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    for block in rows.blocks:
        yield statistics[block.slice], gradient[block.slice]


def _tiles_within(pairs: Pairs, rows: Rows) -> Iterator[tuple[int, int]]:
    """The tiles on and above the diagonal: each pair once."""
    for i in range(len(rows.blocks) if pairs.within else 0):
        for j in range(i, len(rows.blocks)):
            yield i, j


def _tile_within(pairs: Pairs, rows: Rows, i: int, j: int) -> Tile:
    first, second = rows.blocks[i], rows.blocks[j]
    scores = rows.units[first.slice] @ rows.units[second.slice].mT
    own, excluded = rows.match(i, rows.label_block(j), diagonal=i == j)
    return Tile(scores, own, excluded, row_segment=first.segment, column_segment=second.segment)
