"""How the vectors of Pairs are laid out for the kernels, and what describes them there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
from torch import Tensor

from dmlkernels.backends.gpu.layout import class_order, unit_stride
from dmlkernels.backends.pairs import Pairs
from dmlkernels.backends.triton.kernels.order import order_kernel, small_labels_kernel
from dmlkernels.statistics import IGNORED

NOWHERE = 2**31 - 1  # a border that no index reaches
INT32_IGNORED = torch.iinfo(torch.int32).min
MOST_COUNTED = 2**13  # points that a kernel puts in order: its work grows as their square


def lay_out(pairs: Pairs) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Rows, columns, their labels, and the order in which the rows were taken."""
    if pairs.within:
        return _points(pairs)
    assert pairs.columns is not None, "rows meet columns or each other"
    rows, columns = unit_stride(pairs.rows.flatten(0, -2)), unit_stride(pairs.columns)
    row_labels = pairs.row_labels
    column_labels = pairs.column_labels if pairs.statistic.reads_labels else None
    if column_labels is None and row_labels is not None:
        row_labels = small_labels(row_labels, pairs.num_columns)
    return rows, columns, row_labels, column_labels, None


def _points(pairs: Pairs) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]:
    assert pairs.row_labels is not None, "points that meet each other have labels"
    order, column_labels = _sort(pairs, pairs.row_labels)
    columns = pairs.rows.index_select(0, order)
    if pairs.columns is not None:
        columns = torch.cat((columns, pairs.columns))
    return columns[: pairs.num_rows], columns, column_labels[: pairs.num_rows], column_labels, order


def _sort(pairs: Pairs, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Where each of the points sorted by class comes from, and small labels of these and of the columns."""
    more = None if pairs.columns is None else pairs.column_labels
    count = pairs.num_rows + pairs.num_columns
    if count <= MOST_COUNTED and len(pairs.row_boundaries) <= 1:
        order = labels.new_empty(pairs.num_rows, dtype=torch.int64)
        small = labels.new_empty(count, dtype=torch.int32)
        border = pairs.row_boundaries[0] if pairs.row_boundaries else NOWHERE
        order_kernel[(triton.cdiv(count, 32),)](
            labels, more, order, small, pairs.num_rows, pairs.num_columns, border, M=32, N=64
        )
        return order, small
    order = class_order(labels, pairs.row_boundaries)
    labels = labels.index_select(0, order)
    if pairs.columns is not None:
        more = torch.arange(pairs.num_columns, device=labels.device) if more is None else more
        labels = torch.cat((labels, more))
    return order, ranks(labels)


def split_numbers(numbers: Sequence[float]) -> tuple[float, ...]:
    """Each number as two float32, since that is what a kernel is passed; a float64 kernel adds them up."""
    halves: list[float] = []
    for value in numbers:
        high = torch.tensor(value, dtype=torch.float32).item()
        halves += [high, value - high]
    return tuple(halves)


def small_labels(labels: Tensor, num_columns: int) -> Tensor:
    """Labels to compare with column numbers, in 32 bits: what is no column's number stays none."""
    out = torch.empty_like(labels, dtype=torch.int32)
    small_labels_kernel[(triton.cdiv(labels.shape[0], 1024),)](labels, out, labels.shape[0], num_columns, M=1024)
    return out


def ranks(labels: Tensor) -> Tensor:
    """32-bit numbers in the order of the labels, and equal where they are."""
    found = torch.searchsorted(labels.sort().values, labels)
    return found.to(torch.int32).masked_fill_(labels == IGNORED, INT32_IGNORED)


def weights(pairs: Pairs) -> Tensor | None:
    """Column weights; points have weight 0 as columns."""
    if pairs.column_weights is None:
        return torch.zeros(pairs.num_rows, dtype=pairs.dtype, device=pairs.rows.device) if pairs.within else None
    given = pairs.column_weights.to(pairs.dtype)
    return torch.cat((given.new_zeros(pairs.num_rows), given)) if pairs.within else given


def row_values(pairs: Pairs) -> tuple[Tensor, ...]:
    """Values that the caller gave for each row."""
    return () if pairs.row_values is None else pairs.row_values.to(pairs.dtype).unbind(1)


def borders(pairs: Pairs) -> tuple[int, int, int]:
    """Where the second part of the rows and the two later parts of the columns begin: Pairs says how they count."""
    row = pairs.row_boundaries[0] if pairs.row_boundaries else NOWHERE
    if pairs.within:
        return row, row, pairs.num_rows
    return row, 0, pairs.column_boundaries[0] if pairs.column_boundaries else NOWHERE
