"""Launches of the kernels. Nothing here reads a number from the device."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dmlkernels.backends.gpu.splits import MEMORY_FLOOR, cdiv, num_splits
from dmlkernels.backends.pairs import Forward, Gradients, Pairs
from dmlkernels.backends.triton.kernels.backward import BOTH, COLUMNS, ROWS, backward_kernel
from dmlkernels.backends.triton.kernels.blocks import Values
from dmlkernels.backends.triton.kernels.forward import forward_kernel
from dmlkernels.backends.triton.kernels.gradients import combine_kernel
from dmlkernels.backends.triton.kernels.scalars import coded
from dmlkernels.backends.triton.layout import FUSED_MULTIPLY_ADD
from dmlkernels.backends.triton.plan import (
    Architecture,
    backward_tiles,
    forward_tiles,
    next_power_of_2,
    norm_tiles,
)
from dmlkernels.backends.triton.problem import Problem, Vectors, strides
from dmlkernels.backends.triton.saved import FLAG_ROWS, WORD_COLUMNS, saved_size
from dmlkernels.backends.triton.work import backward_work, forward_work


def forward(pairs: Pairs, arch: Architecture) -> Forward:
    """Finished statistics of every row; what is saved is in saved.py."""
    saved = pairs.rows.new_empty(saved_size(pairs), dtype=pairs.dtype)
    work = forward_work(pairs, arch)
    problem = Problem.prepare(pairs, saved, work.precision)
    rows, columns = problem.sides()
    epilogue, order, flags = problem.epilogue, problem.saved.order, problem.saved.flags
    neutral = epilogue.empty if epilogue.neutral is None else epilogue.neutral
    places = problem.row_places
    tiles = forward_tiles(work, arch, rows.size)
    blocks = cdiv(places, tiles.M)
    limit = max(MEMORY_FLOOR, rows.vectors.numel() + columns.vectors.numel())
    count = num_splits(blocks, columns.size, tiles.N, arch.multiprocessors, rows.size * len(neutral), limit)
    statistics = saved.new_empty(pairs.num_rows, pairs.statistic.width)
    splits = statistics if count == 1 else saved.new_empty(count, rows.size, len(neutral))
    forward_kernel[(blocks, count)](
        rows.vectors, columns.vectors, splits, problem.saved.counters, statistics,
        rows.values, columns.values, rows.labels, columns.labels, order, flags,
        rows.size, columns.size, strides(rows, columns), coded(*problem.borders), problem.hyper,
        FOLD=epilogue.fold, MASK=epilogue.mask, FINISH=epilogue.finish, READY=epilogue.ready, MERGE=epilogue.merge,
        EMPTY=epilogue.empty, NEUTRAL=neutral,
        VALUES=Values(0, pairs.statistic.num_row_values, int(epilogue.weighted)), LAYOUT=problem.layout,
        PRECISION=work.precision,
        DIM=pairs.dim, M=tiles.M, N=tiles.N, BLOCK_D=tiles.BLOCK_D,
        **tiles.options(), **FUSED_MULTIPLY_ADD,
    )  # fmt: skip
    return Forward(statistics, saved)


def backward(
    pairs: Pairs, forward: Forward, gradient: Tensor, needs_rows: bool, needs_columns: bool, arch: Architecture
) -> Gradients:
    """Gradients of rows and columns from that of the statistics."""
    problem, values = Problem.restore(pairs, forward, gradient)
    rows, columns = problem.sides(values)
    flags, of_rows, of_columns = problem.saved.flags, None, None
    if needs_rows:
        side = BOTH if pairs.within else ROWS
        of_rows = _gradient(problem, rows, columns, side, problem.borders, flags, pairs.rows.dtype, arch)
    if needs_columns and pairs.columns is not None:
        borders = problem.borders
        if pairs.within:
            columns, flags = problem.true_columns(), None
            borders = (borders[0], borders[1] - pairs.num_rows, borders[2] - pairs.num_rows)
        of_columns = _gradient(problem, columns, rows, COLUMNS, borders, flags, pairs.columns.dtype, arch)
    _combine(problem, of_rows, of_columns)
    return Gradients(
        None if of_rows is None else of_rows.out.view(pairs.rows.shape), None if of_columns is None else of_columns.out
    )


class _Gradient(NamedTuple):
    """Gradient of the vectors in ``owned``, contiguous, and shares that are yet to be added up in it."""

    owned: Vectors
    out: Tensor
    partial: Tensor | None


def _gradient(
    problem: Problem,
    owned: Vectors,
    streamed: Vectors,
    side: int,
    borders: tuple[int, int, int],
    flags: Tensor | None,
    dtype: torch.dtype,
    arch: Architecture,
) -> _Gradient:
    epilogue, dim = problem.epilogue, owned.vectors.shape[1]
    work = backward_work(problem.pairs, arch)
    tiles = backward_tiles(work, arch, side == COLUMNS)
    places = owned.size // problem.group * next_power_of_2(problem.group) if side == COLUMNS else problem.row_places
    if flags is not None:
        row_tile, column_tile = (tiles.N, tiles.M) if side == COLUMNS else (tiles.M, tiles.N)
        assert row_tile <= FLAG_ROWS and column_tile <= WORD_COLUMNS, "a tile asks for one word of flags"
    blocks, slices = cdiv(places, tiles.M), cdiv(dim, tiles.SLICE)
    limit = max(MEMORY_FLOOR, owned.vectors.numel() + streamed.vectors.numel())
    count = num_splits(blocks * slices, streamed.size, tiles.N, arch.multiprocessors, owned.vectors.numel(), limit)
    out = owned.vectors.new_empty((owned.size, dim), dtype=dtype)
    partial = None if count == 1 else owned.values.new_empty(count, owned.size, dim)
    given = problem.pairs.statistic.num_row_values
    num_values = given + epilogue.num_values
    num_plain = num_values if epilogue.num_plain is None else given + epilogue.num_plain
    order = None if side == COLUMNS else problem.saved.order
    backward_kernel[(blocks, slices, count)](
        owned.vectors, streamed.vectors, out if partial is None else partial, owned.values, streamed.values,
        owned.labels, streamed.labels, order, flags,
        owned.size, streamed.size, strides(owned, streamed), coded(*borders), problem.hyper,
        SLOPE=epilogue.slope, VALUES=Values(num_plain, num_values, int(epilogue.weighted)),
        LAYOUT=problem.layout, SIDE=side, PARTIAL=count > 1,
        PRECISION=work.precision,
        DIM=dim, M=tiles.M, N=tiles.N, BLOCK_D=tiles.BLOCK_D, SLICE=tiles.SLICE,
        **tiles.options(), **FUSED_MULTIPLY_ADD,
    )  # fmt: skip
    return _Gradient(owned, out, partial)


def _combine(problem: Problem, of_rows: _Gradient | None, of_columns: _Gradient | None) -> None:
    """Add up shares of both gradients, in one launch if there are any."""
    sides = [None if one is None or one.partial is None else one for one in (of_rows, of_columns)]
    if not any(sides):
        return
    m, block_d = norm_tiles(problem.pairs.dim)
    tensors: list[Tensor | None] = []
    sizes: list[tuple[int, int, int]] = []  # vectors, their stride, splits
    for one in sides:
        if one is None or one.partial is None:
            tensors += [None] * 5
            sizes.append((0, 0, 0))
        else:
            tensors += [one.partial, one.owned.vectors, one.owned.values, one.owned.labels, one.out]
            sizes.append((one.owned.size, one.owned.stride, one.partial.shape[0]))
    combine_kernel[(sum(cdiv(count, m) for count, _, _ in sizes),)](
        *tensors, problem.saved.order, *(coded(*of_side) for of_side in sizes),
        GROUP=problem.group, VIEWS=problem.views, DIM=problem.pairs.dim, M=m, BLOCK_D=block_d, **FUSED_MULTIPLY_ADD,
    )  # fmt: skip
