"""Statistics of rows whose columns are divided among ranks.

The statistics of parts of the columns merge into those of the whole, and the slope of a tile asks only for the finished
statistics of the whole row and their gradient (``Statistic``). So each rank folds its own columns and sends each owner
the statistics of its rows; the owner merges them, in rank order, and in backward tells everyone the result and its
gradient. That travels 3 widths a row, whatever the number of columns or ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed

from dmlkernels import backends
from dmlkernels.backends.autocast import operands
from dmlkernels.distributed.collectives import all_gather, exchange
from dmlkernels.distributed.first_order import first_order_only
from dmlkernels.ops.library import ReverseMode
from dmlkernels.ops.pairs import pair_backward, pair_forward
from dmlkernels.statistics import IGNORED, Statistic

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class _Merged(ReverseMode):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, columns: Tensor, row_values: Tensor | None, statistic: Statistic, group: ProcessGroup,
        sizes: Sequence[int], row_labels: Tensor | None, column_labels: Tensor | None, backend: str,
    ) -> Tensor:  # fmt: skip
        parameters = [float(value) for value in statistic.parameters()]
        ctx.options = (False, False, (), (), statistic.name, parameters, backend)
        everyone = None if row_values is None else all_gather(row_values, group, sizes)
        tensors = rows, columns, everyone, row_labels, column_labels, None
        statistics, saved = pair_forward(*tensors, *ctx.options)
        own = statistic.merge_parts(exchange(statistics, group, sizes))
        if row_labels is not None:
            own = own.masked_fill(own_rows(row_labels, group, sizes)[:, None] == IGNORED, 0.0)
        ctx.statistic, ctx.group, ctx.sizes = statistic, group, sizes
        ctx.save_for_backward(own, saved, *tensors)
        return own

    @staticmethod
    @first_order_only
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        own, saved, *tensors = ctx.saved_tensors
        needs_rows, needs_columns, needs_values = ctx.needs_input_grad[:3]
        row_values = ctx.statistic.row_values_gradient(own, gradient) if needs_values else None
        everyone = all_gather(torch.stack((own, gradient), dim=1), ctx.group, ctx.sizes)
        statistics, gradient = everyone.unbind(1)
        rows, columns, _ = pair_backward(
            statistics.contiguous(), saved, gradient.contiguous(), needs_rows, needs_columns, False,
            *tensors, *ctx.options,
        )  # fmt: skip
        return rows if needs_rows else None, columns if needs_columns else None, row_values, *(None,) * 6


def merged_statistics(
    statistic: Statistic,
    rows: Tensor,  # (R, D), or (2, R, D) for a statistic of two views; on every rank
    columns: Tensor,  # (C, D), this rank's part
    group: ProcessGroup,
    sizes: Sequence[int],
    *,
    backend: str,
    row_labels: Tensor | None = None,  # (R,) int64
    column_labels: Tensor | None = None,  # (C,) int64
    row_values: Tensor | None = None,  # (sizes[rank], num_row_values), of this rank's rows
) -> Tensor:  # (sizes[rank], width)
    """Statistics of this rank's rows with the columns of all ranks, differentiably.

    Args:
        rows: the same on every rank; ``sizes[r]`` of them, in turn, are owned by rank r.
        group: of the ranks that have parts of the columns.
    """
    backend = backends.resolve(backend, rows.device.type, statistic.name)
    scored, scored_columns = operands(rows, columns)
    return _Merged.apply(
        scored,
        scored_columns,
        row_values,
        statistic,
        group,
        tuple(sizes),
        row_labels,
        column_labels,
        backend,
    )


def own_rows(rows: Tensor, group: ProcessGroup, sizes: Sequence[int]) -> Tensor:
    """This rank's among the rows of all."""
    return rows.split(list(sizes))[distributed.get_rank(group)]
