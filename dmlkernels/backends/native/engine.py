"""The C++ engine on a CPU: each pass is one call. Its tiles are those of the torch backend."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from dmlkernels.backends.blocked import plan
from dmlkernels.backends.blocked.streaming import saved_shape
from dmlkernels.backends.native import module
from dmlkernels.backends.pairs import Forward, Gradients, Pairs, Shape
from dmlkernels.statistics import Statistic, Term

__all__ = ["backward", "forward", "saved_shape"]

PART_COLUMNS = 256  # worth a part of one thread
_LANES = 16  # float32 in the widest register: scores of whole registers are read aligned


def forward(pairs: Pairs) -> Forward:
    """Finished statistics of every row; saved is which tiles of rows with rows have a gradient."""
    problem, kept = _describe(pairs)
    statistics = pairs.rows.new_empty(pairs.num_rows, pairs.statistic.width, dtype=pairs.dtype)
    saved = statistics.new_ones(saved_shape(pairs))
    problem.statistics, problem.saved = statistics.data_ptr(), saved.data_ptr()
    module.kernels().forward(problem)
    del kept
    return Forward(statistics, saved)


def backward(pairs: Pairs, forward: Forward, gradient: Tensor, needs_rows: bool, needs_columns: bool) -> Gradients:
    """Gradients of rows and columns from that of the statistics."""
    problem, kept = _describe(pairs)
    statistics, saved = forward.statistics.contiguous(), forward.saved.contiguous()
    gradient = gradient.to(pairs.dtype).contiguous()
    problem.statistics, problem.gradient = statistics.data_ptr(), gradient.data_ptr()
    problem.saved = saved.data_ptr()
    of_rows = of_columns = None
    if needs_rows:
        of_rows = pairs.rows.new_empty(pairs.rows.shape)
        problem.rows.gradient = of_rows.data_ptr()
    if needs_columns and pairs.columns is not None:
        of_columns = pairs.columns.new_empty(pairs.columns.shape)
        problem.columns.gradient = of_columns.data_ptr()
    module.kernels().backward(problem)
    del kept
    return Gradients(of_rows, of_columns)


def _describe(pairs: Pairs) -> tuple[module.compiled.Problem, list[Tensor]]:
    """Describe a problem to the engine. Also returns the tensors whose addresses the description has."""
    outline = _outline(pairs.shape, torch.get_num_threads())
    problem = module.compiled.Problem(outline.problem)
    problem.block_rows = plan.row_block_length(pairs)
    problem.block_labels, problem.part_columns = _block_labels(pairs), PART_COLUMNS
    kept = [outline.empty, *_point_to(problem.rows, pairs.rows, pairs.row_labels)]
    if pairs.row_values is not None:
        kept.append(row_values := pairs.row_values.to(pairs.dtype).contiguous())
        problem.rows.row_values = row_values.data_ptr()
    if pairs.columns is not None:
        labels = pairs.column_labels if pairs.statistic.reads_labels else None
        kept += _point_to(problem.columns, pairs.columns, labels)
        weights = pairs.weights(0, pairs.num_columns)
        if weights is not None:
            kept.append(weights := weights.contiguous())
            problem.columns.weights = weights.data_ptr()
    return problem, kept


def _point_to(vectors: module.compiled.Vectors, tensor: Tensor, labels: Tensor | None) -> list[Tensor]:
    """Describe where vectors and their labels are. Returns the tensors whose addresses the description has."""
    if tensor.stride(-1) != 1:
        tensor = tensor.contiguous()
    vectors.values, vectors.stride = tensor.data_ptr(), tensor.stride(-2)
    vectors.view_stride = tensor.stride(0) if tensor.dim() == 3 else 0
    if labels is None:
        return [tensor]
    labels = labels.contiguous()
    vectors.labels = labels.data_ptr()
    return [tensor, labels]


class _Outline(NamedTuple):
    """All of a description but the addresses of tensors, and the tensor whose address it has."""

    problem: module.compiled.Problem
    empty: Tensor


@lru_cache(maxsize=256)
def _outline(shape: Shape, threads: int) -> _Outline:
    """What follows from shapes takes as long to describe as a small batch to fold: it is remembered."""
    problem, statistic, empty = module.compiled.Problem(), shape.statistic, _empty_state(shape.statistic)
    problem.wide = shape.dtype == torch.float64
    problem.dim, problem.views, problem.group = shape.dim, statistic.views, statistic.group
    problem.width, problem.row_values = statistic.width, statistic.num_row_values
    problem.threads = threads
    problem.within, problem.symmetric = shape.within, statistic.symmetric
    problem.terms = _terms(statistic, len(shape.row_boundaries) + 1, len(shape.column_boundaries) + 1, shape.within)
    problem.empty = empty.data_ptr()
    problem.rows.type, problem.rows.size = _type(shape.row_type), shape.num_rows
    problem.rows.boundaries = shape.row_boundaries
    if shape.column_type is not None:
        problem.columns.type, problem.columns.size = _type(shape.column_type), shape.num_columns
        problem.columns.boundaries = [boundary // statistic.group for boundary in shape.column_boundaries]
        problem.implicit_labels = statistic.reads_labels and not shape.has_column_labels
    return _Outline(problem, empty)


def _type(dtype: torch.dtype) -> module.compiled.Type:
    found: module.compiled.Type = getattr(module.compiled.Type, str(dtype).removeprefix("torch."))
    return found


def _block_labels(pairs: Pairs) -> int:
    """Labels of a block of columns: whole registers, unless the block is smaller."""
    in_cache = plan.vectors_in_cache(pairs.dim) // pairs.statistic.group
    labels = min(plan.scored_block_length(pairs), max(in_cache, 1))
    return labels - labels % _LANES if labels > _LANES else labels


def _empty_state(statistic: Statistic) -> Tensor:  # (1, width) float64
    """The statistics of a row before any column."""
    return torch.stack(statistic.empty(1, torch.empty(0, dtype=torch.float64, device="cpu")), dim=1)


def _terms(
    statistic: Statistic, row_segments: int, column_segments: int, within: bool
) -> list[list[module.compiled.Term]]:
    """The statistics that tiles are folded to, for each row segment with each segment that it meets."""
    first_columns = row_segments if within else 1
    met = [(segment, statistic.symmetric) for segment in range(row_segments if within else 0)]
    met += [(first_columns + segment, False) for segment in range(column_segments)]
    return [
        [
            _compiled(term, both_ends)
            for term in statistic.terms(row_segment, met_segment)
            if term.for_rows or (term.for_columns and both_ends)
        ]
        for row_segment in range(row_segments)
        for met_segment, both_ends in met
    ]


def _compiled(term: Term, both_ends: bool) -> module.compiled.Term:
    compiled, parameters = module.compiled.Term(), term.statistic.parameters()
    compiled.kind = getattr(module.compiled.Kind, term.statistic.name)
    compiled.parameters = [*parameters, *compiled.parameters[len(parameters) :]]
    compiled.first = term.columns.start
    compiled.from_rows, compiled.from_columns = term.for_rows, term.for_columns and both_ends
    return compiled
