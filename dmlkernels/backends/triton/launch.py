"""Launches of the kernels. Nothing here reads a number from the device."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from dmlkernels.backends.gpu.splits import MEMORY_FLOOR, num_splits
from dmlkernels.backends.pairs import Forward, Gradients, Pairs
from dmlkernels.backends.triton.kernels.backward import BOTH, COLUMNS, ROWS, backward_kernel
from dmlkernels.backends.triton.kernels.blocks import Values
from dmlkernels.backends.triton.kernels.forward import forward_kernel, merge_kernel
from dmlkernels.backends.triton.kernels.gradients import combine_kernel
from dmlkernels.backends.triton.kernels.norms import norms_kernel
from dmlkernels.backends.triton.plan import (
    Architecture,
    backward_tiles,
    forward_tiles,
    next_power_of_2,
    norm_tiles,
)
from dmlkernels.backends.triton.precision import first_precision, second_precision
from dmlkernels.backends.triton.problem import Problem, Vectors, strides
from dmlkernels.backends.triton.saved import FLAG_ROWS, PADDING, WORD_COLUMNS, saved_size, split

FUSED_MULTIPLY_ADD = {"enable_fp_fusion": True}  # the default up to Triton 3.9, which wants it said


def forward(pairs: Pairs, arch: Architecture) -> Forward:
    """Finished statistics of every row; saved are the reciprocal norms of all vectors, and flags: see saved.py."""
    problem = Problem.of(pairs)
    saved = problem.columns.new_empty(saved_size(pairs), dtype=pairs.dtype)
    norms, flags = split(pairs, saved)
    _find_norms(problem, norms)
    if flags is not None:
        flags.zero_()
    given = problem.row_values
    rows, columns = problem.sides(norms, given)
    epilogue = problem.epilogue
    neutral = epilogue.empty if epilogue.neutral is None else epilogue.neutral
    precision, places = first_precision(epilogue, arch, problem.mixed), problem.row_places
    tiles = forward_tiles(problem.work(precision), arch, rows.size)
    blocks = triton.cdiv(places, tiles.M)
    limit = max(MEMORY_FLOOR, rows.vectors.numel() + columns.vectors.numel())
    count = num_splits(blocks, columns.size, tiles.N, arch.multiprocessors, rows.size * len(neutral), limit)
    out = saved.new_empty(count, rows.size, len(neutral))
    forward_kernel[(blocks, count)](
        rows.vectors, columns.vectors, out, rows.values, columns.values, rows.labels, columns.labels, flags,
        rows.size, columns.size, strides(rows, columns), problem.borders, problem.hyper,
        FOLD=epilogue.fold, MASK=epilogue.mask, FINISH=epilogue.finish, READY=epilogue.ready, EMPTY=epilogue.empty,
        VALUES=Values(0, len(given), int(epilogue.weighted)), LAYOUT=problem.layout,
        PRECISION=precision,
        DIM=pairs.dim, M=tiles.M, N=tiles.N, BLOCK_D=tiles.BLOCK_D,
        **tiles.options(), **FUSED_MULTIPLY_ADD,
    )  # fmt: skip
    statistics = out[0]
    if count > 1:
        statistics = torch.empty_like(out[0])
        merge_kernel[(triton.cdiv(places, 128),)](
            out, statistics, rows.labels, rows.size, count,
            MERGE=epilogue.merge, EMPTY=neutral, LAYOUT=problem.layout, M=128, **FUSED_MULTIPLY_ADD,
        )  # fmt: skip
    return Forward(problem.scatter_statistics(statistics), saved)


def backward(
    pairs: Pairs, forward: Forward, gradient: Tensor, needs_rows: bool, needs_columns: bool, arch: Architecture
) -> Gradients:
    """Gradients of rows and columns from that of the statistics."""
    problem = Problem.of(pairs)
    statistics, gradient = (problem.gather_statistics(given) for given in (forward.statistics, gradient))
    values = (*problem.row_values, *problem.epilogue.values(pairs.statistic, statistics, gradient))
    norms, flags = split(pairs, forward.saved)
    rows, columns = problem.sides(norms, values)
    of_rows = of_columns = None
    if needs_rows:
        side = BOTH if pairs.within else ROWS
        found = _gradient(problem, rows, columns, side, problem.borders, flags, pairs.rows.dtype, arch)
        of_rows = problem.scatter_rows(found)
    if needs_columns and pairs.columns is not None:
        borders = problem.borders
        if pairs.within:
            columns, flags = problem.true_columns(norms), None
            borders = (borders[0], borders[1] - pairs.num_rows, borders[2] - pairs.num_rows)
        of_columns = _gradient(problem, columns, rows, COLUMNS, borders, flags, pairs.columns.dtype, arch)
    return Gradients(of_rows, of_columns)


def _gradient(
    problem: Problem,
    owned: Vectors,
    streamed: Vectors,
    side: int,
    borders: tuple[int, int, int],
    flags: Tensor | None,
    dtype: torch.dtype,
    arch: Architecture,
) -> Tensor:
    """Gradient of the vectors in ``owned``, contiguous."""
    epilogue, dim = problem.epilogue, owned.vectors.shape[1]
    precision = second_precision(epilogue, problem.operand, arch, problem.mixed)
    tiles = backward_tiles(problem.work(precision), arch, side == COLUMNS)
    places = owned.size // problem.group * next_power_of_2(problem.group) if side == COLUMNS else problem.row_places
    if flags is not None:
        row_tile, column_tile = (tiles.N, tiles.M) if side == COLUMNS else (tiles.M, tiles.N)
        assert row_tile <= FLAG_ROWS and column_tile <= WORD_COLUMNS, "a tile asks for one word of flags"
    blocks, slices = triton.cdiv(places, tiles.M), triton.cdiv(dim, tiles.SLICE)
    limit = max(MEMORY_FLOOR, owned.vectors.numel() + streamed.vectors.numel())
    count = num_splits(blocks * slices, streamed.size, tiles.N, arch.multiprocessors, owned.vectors.numel(), limit)
    out = owned.vectors.new_empty((owned.size, dim), dtype=dtype)
    partial = out if count == 1 else owned.values.new_empty(count, owned.size, dim)
    given = len(problem.row_values)
    num_values = given + epilogue.num_values
    num_plain = num_values if epilogue.num_plain is None else given + epilogue.num_plain
    backward_kernel[(blocks, slices, count)](
        owned.vectors, streamed.vectors, partial, owned.values, streamed.values, owned.labels, streamed.labels, flags,
        owned.size, streamed.size, strides(owned, streamed), borders, problem.hyper,
        SLOPE=epilogue.slope, VALUES=Values(num_plain, num_values, int(epilogue.weighted)),
        LAYOUT=problem.layout, SIDE=side, PARTIAL=count > 1,
        PRECISION=precision,
        DIM=dim, M=tiles.M, N=tiles.N, BLOCK_D=tiles.BLOCK_D, SLICE=tiles.SLICE,
        **tiles.options(), **FUSED_MULTIPLY_ADD,
    )  # fmt: skip
    if count > 1:
        m, block_d = norm_tiles(dim)
        group, views = (problem.group, 1) if side == COLUMNS else (1, problem.views)
        combine_kernel[(triton.cdiv(owned.size, m),)](
            partial, owned.vectors, owned.values, owned.labels, out, owned.size, owned.stride, count,
            GROUP=group, VIEWS=views, DIM=dim, M=m, BLOCK_D=block_d, **FUSED_MULTIPLY_ADD,
        )  # fmt: skip
    return out


def _find_norms(problem: Problem, out: Tensor) -> None:
    """Reciprocal norms of the rows, where they are not columns too, and of the columns, which padding follows."""
    rows = (problem.rows, problem.row_labels, 1, problem.views, 0)
    columns = (problem.columns, problem.column_labels, problem.group, 1, PADDING)
    start = 0
    for vectors, labels, group, views, padding in (columns,) if problem.within else (rows, columns):
        count, dim = vectors.shape
        m, block_d = norm_tiles(dim)
        norms_kernel[(triton.cdiv(count + padding, m),)](
            vectors, labels, out[start:], count, count + padding, count // views, vectors.stride(0),
            GROUP=group, DIM=dim, M=m, BLOCK_D=block_d, **FUSED_MULTIPLY_ADD,
        )  # fmt: skip
        start += count
