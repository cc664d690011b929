"""A whole problem, each way in one call of C++.

The loop over tiles is there too: with few rows a tile is so little work that calls and copies would cost as much.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from dmlkernels.backends.blocked import plan, saved_shape
from dmlkernels.backends.native import module
from dmlkernels.backends.native.terms import terms
from dmlkernels.backends.native.tiles import empty_state, kernels
from dmlkernels.backends.pairs import Forward, Gradients, Pairs
from dmlkernels.statistics import Statistic

PART_COLUMNS = 256  # worth a part of a thread's own
_LANES = 16  # float32 in the widest register: scores of whole registers are read aligned


def suits(pairs: Pairs) -> bool:
    """Whether the engine takes these pairs whole: rows, and columns that it can read as they are; or rows among
    themselves, few enough for one tile."""
    if pairs.row_boundaries or pairs.column_boundaries:
        return False
    if pairs.columns is None:
        return pairs.within and pairs.num_rows <= plan.SQUARE_BLOCK
    return not pairs.within and pairs.columns.dtype == pairs.dtype


def forward(pairs: Pairs) -> Forward | None:
    """Finished statistics of every row, or None if the engine does not take the labels."""
    problem, kept = _describe(pairs)
    statistics = pairs.rows.new_empty(pairs.num_rows, pairs.statistic.width, dtype=pairs.dtype)
    problem.statistics = statistics.data_ptr()
    done = kernels().forward(problem)
    del kept
    return Forward(statistics, statistics.new_ones(saved_shape(pairs))) if done else None


def backward(
    pairs: Pairs, forward: Forward, gradient: Tensor, needs_rows: bool, needs_columns: bool
) -> Gradients | None:
    """Gradients of rows and columns from that of the statistics, or None if the engine does not take the labels."""
    problem, kept = _describe(pairs)
    statistics, gradient = forward.statistics.contiguous(), gradient.to(pairs.dtype).contiguous()
    problem.statistics, problem.gradient = statistics.data_ptr(), gradient.data_ptr()
    of_rows = pairs.rows.new_empty(pairs.rows.shape, dtype=pairs.dtype) if needs_rows else None
    of_columns = pairs.columns.new_empty(pairs.columns.shape) if needs_columns and pairs.columns is not None else None
    if of_rows is not None:
        problem.rows.gradient = of_rows.data_ptr()
    if of_columns is not None:
        problem.columns.gradient = of_columns.data_ptr()
    done = kernels().backward(problem)
    del kept
    if not done:
        return None
    return Gradients(None if of_rows is None else of_rows.to(pairs.rows.dtype), of_columns)


def _describe(pairs: Pairs) -> tuple[module.compiled.Problem, list[Tensor]]:
    """The problem in the engine's words, and what must be kept until it is solved."""
    problem, statistic = module.compiled.Problem(), pairs.statistic
    tile = problem.tile
    tile.wide = pairs.dtype == torch.float64
    tile.dim, tile.views, tile.group, tile.width = pairs.dim, statistic.views, statistic.group, statistic.width
    tile.row_values = statistic.num_row_values
    tile.threads = torch.get_num_threads()
    tile.set_terms(_terms(statistic, pairs.within))
    empty = empty_state(statistic)
    problem.empty = empty.data_ptr()
    problem.within = pairs.within
    problem.block_rows, problem.block_labels = plan.BLOCK_ROWS, _block_labels(pairs)
    problem.part_columns = PART_COLUMNS
    kept = [empty, *_show(problem.rows, pairs.rows.to(pairs.dtype), pairs.row_labels)]
    if pairs.row_values is not None:
        row_values = pairs.row_values.to(pairs.dtype).contiguous()
        problem.rows.row_values = row_values.data_ptr()
        kept.append(row_values)
    if pairs.columns is not None:
        problem.implicit_labels = statistic.reads_labels and pairs.column_labels is None
        kept += _show(problem.columns, pairs.columns, pairs.column_labels)
        if pairs.column_weights is not None:
            weights = pairs.column_weights.to(pairs.dtype).contiguous()
            problem.columns.weights = weights.data_ptr()
            kept.append(weights)
    return problem, kept


def _block_labels(pairs: Pairs) -> int:
    labels = plan.scored_block_length(pairs)
    return labels - labels % _LANES if labels > _LANES else labels


def _show(vectors: module.compiled.Vectors, tensor: Tensor, labels: Tensor | None) -> list[Tensor]:
    if tensor.stride(-1) != 1:
        tensor = tensor.contiguous()
    vectors.values, vectors.size, vectors.stride = tensor.data_ptr(), tensor.shape[-2], tensor.stride(-2)
    vectors.view_stride = tensor.stride(0) if tensor.dim() == 3 else 0
    if labels is None:
        return [tensor]
    labels = labels.contiguous()
    vectors.labels = labels.data_ptr()
    return [tensor, labels]


@lru_cache(maxsize=64)
def _terms(statistic: Statistic, within: bool) -> list[module.compiled.Term]:
    return terms(statistic, 0, 0 if within else 1, within and statistic.symmetric)
