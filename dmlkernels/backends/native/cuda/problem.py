"""Pairs in the engine's words: addresses, strides and sizes of tensors that it keeps."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.backends.gpu.layout import class_order, unit_stride
from dmlkernels.backends.native.cuda import module
from dmlkernels.backends.native.cuda.plan import is_small
from dmlkernels.backends.pairs import Pairs

NOWHERE = 2**62  # a border that no place reaches
_TYPES = {
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
    torch.float32: "float32",
    torch.float64: "float64",
}
_QUAD = 16  # bytes read at once


class Inputs:
    """What the engine reads, in the types and layouts it reads. Addresses are valid as long as this object lives.

    Points that meet each other are taken in the order of their classes, so that positive pairs gather in few tiles.
    """

    def __init__(self, pairs: Pairs) -> None:
        statistic = pairs.statistic
        self.pairs = pairs
        self.dtype = _operand_type(pairs)
        self.small = is_small(pairs.num_rows, pairs.num_columns + (pairs.num_rows if pairs.within else 0))
        self.rows = unit_stride(pairs.rows.detach().to(self.dtype))
        self.columns = None if pairs.columns is None else unit_stride(pairs.columns.detach().to(self.dtype))
        self.group = statistic.group
        self.compiled_type = _compiled_type(self.dtype)
        self.per_tile, self.slice = module.compiled.sizes(self.compiled_type)
        self.row_labels = None if pairs.row_labels is None else pairs.row_labels.contiguous()
        self.column_labels: Tensor | None = None
        self.order: Tensor | None = None
        if statistic.reads_labels:
            self._take_labels(pairs)
        weights = pairs.weights(0, pairs.num_columns)
        self.weights = None if weights is None else weights.contiguous()
        self.row_values = None if pairs.row_values is None else pairs.row_values.to(pairs.dtype).contiguous()

    def problem(self, saved: Tensor) -> module.compiled.Problem:
        """All but the jobs; ``saved`` are the reciprocal norms of all rows, then of all columns."""
        statistic = self.pairs.statistic
        problem = module.compiled.Problem()
        parameters = statistic.parameters()
        problem.kind = getattr(module.compiled.Kind, statistic.name)
        problem.type = self.compiled_type
        problem.parameters = parameters + [0.0] * (5 - len(parameters))
        problem.row_values, problem.row_value_count = _address(self.row_values), statistic.num_row_values
        problem.dim, problem.group = self.pairs.dim, self.group
        problem.aligned = all(_is_aligned(x) for x in (self.rows, self.columns) if x is not None)
        problem.stream = torch.cuda.current_stream(saved.device).cuda_stream if saved.is_cuda else 0
        return problem

    def row_side(self, saved: Tensor) -> module.compiled.Vectors:
        """The rows alone."""
        side = module.compiled.Vectors()
        self._add_rows(side, saved)
        side.set_segments(self._row_split, NOWHERE)
        return side

    def column_side(self, saved: Tensor) -> module.compiled.Vectors:
        """The columns alone."""
        side = module.compiled.Vectors()
        self._add_columns(side, saved)
        if self.pairs.within:
            side.set_segments(0, 0)
        else:
            side.set_segments(0, self.pairs.column_boundaries[0] if self.pairs.column_boundaries else NOWHERE)
        return side

    def others(self, saved: Tensor) -> module.compiled.Vectors:
        """What the rows meet: the columns, after the rows themselves if ``within``."""
        if not self.pairs.within:
            return self.column_side(saved)
        side = module.compiled.Vectors()
        self._add_rows(side, saved)
        self._add_columns(side, saved)
        side.set_segments(self._row_split, self.pairs.num_rows)
        return side

    @property
    def _row_split(self) -> int:
        return self.pairs.row_boundaries[0] if self.pairs.row_boundaries else NOWHERE

    def _take_labels(self, pairs: Pairs) -> None:
        if self.row_labels is None:
            raise TypeError(f"{pairs.statistic.name} needs row_labels")
        self.column_labels = None if pairs.column_labels is None else pairs.column_labels.contiguous()
        if pairs.within and pairs.statistic.sparse and not self.small:
            self.order = class_order(self.row_labels, pairs.row_boundaries)

    def _add_rows(self, side: module.compiled.Vectors, saved: Tensor) -> None:
        side.points, side.border = self.rows.data_ptr(), self.pairs.num_rows
        side.count += self.pairs.num_rows
        side.point_stride = self.rows.stride(-2)
        side.view_stride = self.rows.stride(0) if self.rows.dim() == 3 else 0
        side.point_labels = _address(self.row_labels)
        side.order = _address(self.order)
        side.point_norms = saved.data_ptr()

    def _add_columns(self, side: module.compiled.Vectors, saved: Tensor) -> None:
        if self.columns is None:
            return
        side.columns, side.column_stride = self.columns.data_ptr(), self.columns.stride(0)
        side.count += self.pairs.num_columns
        side.column_labels = _address(self.column_labels)
        num_norms = self.pairs.num_rows * self.pairs.statistic.views
        side.column_norms = saved.data_ptr() + num_norms * saved.element_size()
        side.weights = _address(self.weights)


def fits(pairs: Pairs) -> bool:
    """Whether a tile holds all columns of a label."""
    places, _ = module.compiled.sizes(_compiled_type(_operand_type(pairs)))
    return pairs.statistic.group <= places


def _compiled_type(dtype: torch.dtype) -> module.compiled.Type:
    return getattr(module.compiled.Type, _TYPES[dtype])


def _operand_type(pairs: Pairs) -> torch.dtype:
    """That of both, or what holds both where they differ."""
    rows = pairs.rows.dtype
    columns = rows if pairs.columns is None else pairs.columns.dtype
    return rows if rows == columns else pairs.dtype


def _is_aligned(vectors: Tensor) -> bool:
    steps = (vectors.shape[-1], *vectors.stride()[:-1])
    return vectors.data_ptr() % _QUAD == 0 and all(step * vectors.element_size() % _QUAD == 0 for step in steps)


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()
