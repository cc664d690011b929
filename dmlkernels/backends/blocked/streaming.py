"""Tiles of scores, one at a time: fold forward; recompute and take slopes backward."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dmlkernels.backends.blocked import host, normalise
from dmlkernels.backends.blocked.columns import Columns
from dmlkernels.backends.blocked.plan import row_blocks, scored_column_blocks
from dmlkernels.backends.blocked.rows import Rows
from dmlkernels.backends.blocked.tensors import Fold, Slope
from dmlkernels.backends.pairs import Forward, Gradients, Pairs


def saved_shape(pairs: Pairs) -> tuple[int, ...]:
    """A flag per tile of a sparse statistic among points: whether its slope is anywhere non-zero."""
    if not (pairs.within and pairs.statistic.sparse):
        return (0,)
    count = len(row_blocks(pairs, pairs.num_rows, pairs.row_boundaries))
    return (count, count)


def forward(pairs: Pairs) -> Forward:
    """Finished statistics of every row."""
    rows = Rows(pairs, normalise)
    fold = Fold(pairs, rows)
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
    slope = Slope(pairs, rows, rows.gather(forward.statistics), rows.gather(gradient))
    of_rows = _zeros_like(rows.units) if needs_rows else None
    may_skip = pairs.statistic.sparse and host.readable(pairs.rows)
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


def _zeros_like(units: Tensor) -> Tensor:
    return torch.zeros_like(units, memory_format=torch.contiguous_format)


def _tiles_within(pairs: Pairs, rows: Rows) -> Iterator[tuple[int, int]]:
    """The tiles on and above the diagonal: each pair once."""
    for i in range(len(rows.blocks) if pairs.within else 0):
        for j in range(i, len(rows.blocks)):
            yield i, j
