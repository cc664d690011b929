"""How the vectors of Pairs are laid out for the kernels, and what describes them there."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from dmlkernels.backends.gpu.layout import unit_stride
from dmlkernels.backends.gpu.splits import cdiv
from dmlkernels.backends.pairs import Pairs
from dmlkernels.backends.triton.kernels.norms import prepare_kernel
from dmlkernels.backends.triton.kernels.order import arrange_kernel
from dmlkernels.backends.triton.kernels.scalars import coded
from dmlkernels.backends.triton.plan import copy_tiles, norm_tiles
from dmlkernels.backends.triton.saved import Saved
from dmlkernels.backends.triton.work import operand_of

NOWHERE = 2**30 - 2  # a border that no index reaches
MOST_COUNTED = 2**13  # points that a kernel puts in order by itself: its work grows as their square
FUSED_MULTIPLY_ADD = {"enable_fp_fusion": True}  # the default up to Triton 3.9, which wants it said


def prepare(pairs: Pairs, saved: Saved, cut: bool = False) -> Tensor | None:
    """Fill ``saved`` with all but what forward's scores say, in one launch. Points come back in their order, and behind
    them the columns that they meet. ``cut``: norms of what tf32 leaves of float32 vectors, see ``load_scored``."""
    if pairs.within:
        return _arrange(pairs, saved, cut)
    prepare_vectors(pairs, saved, cut)
    return None


def prepare_vectors(pairs: Pairs, saved: Saved, cut: bool = False) -> None:
    """The same for rows that meet columns."""
    assert pairs.columns is not None and saved.rows is not None, "rows meet columns or each other"
    rows, columns = unit_stride(pairs.rows.flatten(0, -2)), unit_stride(pairs.columns)
    statistic, given = pairs.statistic, pairs.row_values
    column_labels = pairs.column_labels if statistic.reads_labels else None
    m, block_d = norm_tiles(pairs.dim)
    num_words = 0 if saved.cleared is None else saved.cleared.shape[0]
    x_pitch, w_pitch = saved.rows.shape[1], saved.columns.shape[1]
    sizes = (
        pairs.num_rows, rows.shape[0], x_pitch, columns.shape[0], w_pitch, columns.shape[0] // statistic.group,
        num_words,
    )  # fmt: skip
    prepare_kernel[(cdiv(x_pitch, m) + cdiv(w_pitch, m),)](
        rows, columns, pairs.row_labels, column_labels, given, _weights(pairs),
        saved.rows, saved.columns, saved.labels, saved.cleared,
        coded(*sizes), rows.stride(0), columns.stride(0), (0, 0) if given is None else given.stride(),
        GIVEN=statistic.num_row_values, WEIGHTED=statistic.reads_weights, GROUP=statistic.group, CUT=cut,
        DIM=pairs.dim, M=m, BLOCK_D=block_d, **FUSED_MULTIPLY_ADD,
    )  # fmt: skip


def _arrange(pairs: Pairs, saved: Saved, cut: bool) -> Tensor:
    assert pairs.row_labels is not None, "points that meet each other have labels"
    assert len(pairs.row_boundaries) <= 1, "points are of two segments at most"
    assert saved.cleared is not None, "tiles count"
    labels = pairs.row_labels.contiguous()
    more = None if pairs.column_labels is None else pairs.column_labels.contiguous()
    few = pairs.num_rows + pairs.num_columns <= MOST_COUNTED
    labels_in_order, order = (None, None) if few else labels.sort(stable=True)
    vectors = empty_points(pairs)
    rows, columns = unit_stride(pairs.rows), None if pairs.columns is None else unit_stride(pairs.columns)
    m, block_d = copy_tiles(pairs.dim)
    pitch = saved.columns.shape[1]
    arrange_kernel[(cdiv(pitch, m),)](
        labels, more, labels_in_order, order, rows, columns, _weights(pairs),
        saved.order, saved.labels, vectors, saved.columns, saved.cleared,
        pairs.num_rows, pairs.num_columns, borders(pairs)[0], pitch, point_strides(rows, columns),
        saved.cleared.shape[0], pairs.num_rows.bit_length(),
        WEIGHTED=pairs.statistic.reads_weights, CUT=cut, DIM=pairs.dim, M=m, N=64, BLOCK_D=block_d,
        **FUSED_MULTIPLY_ADD,
    )  # fmt: skip
    return vectors


def empty_points(pairs: Pairs) -> Tensor:
    """Memory of points and of the columns that they meet."""
    return pairs.rows.new_empty((pairs.num_rows + pairs.num_columns, pairs.dim), dtype=operand_of(pairs))


def point_strides(rows: Tensor, columns: Tensor | None) -> tuple[int, int]:
    """Of points and columns."""
    return rows.stride(0), 0 if columns is None else columns.stride(0)


@lru_cache
def split_numbers(numbers: tuple[float, ...]) -> tuple[float, ...]:
    """Each number as two float32, since that is what a kernel is passed; a float64 kernel adds them up."""
    halves: list[float] = []
    for value in numbers:
        high = torch.tensor(value, dtype=torch.float32).item()
        halves += [high, value - high]
    return tuple(halves)


def _weights(pairs: Pairs) -> Tensor | None:
    if not pairs.statistic.reads_weights or pairs.column_weights is None:
        return None
    return pairs.column_weights.contiguous()


def borders(pairs: Pairs) -> tuple[int, int, int]:
    """Where the second part of the rows and the two later parts of the columns begin: Pairs says how they count."""
    row = pairs.row_boundaries[0] if pairs.row_boundaries else NOWHERE
    if pairs.within:
        return row, row, pairs.num_rows
    return row, 0, pairs.column_boundaries[0] if pairs.column_boundaries else NOWHERE
