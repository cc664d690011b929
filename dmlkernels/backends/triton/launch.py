"""Launches of the kernels. Nothing here reads a number from the device."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from dmlkernels.backends.gpu.splits import MEMORY_FLOOR, num_splits
from dmlkernels.backends.pairs import Forward, Gradients, Pairs
from dmlkernels.backends.triton.kernels.backward import BOTH, COLUMNS, ROWS, backward_kernel, combine_kernel
from dmlkernels.backends.triton.kernels.forward import forward_kernel, merge_kernel
from dmlkernels.backends.triton.kernels.norms import norms_kernel
from dmlkernels.backends.triton.plan import (
    Architecture,
    backward_tiles,
    forward_tiles,
    next_power_of_2,
    norm_tiles,
)
from dmlkernels.backends.triton.precision import first_precision, second_precision
from dmlkernels.backends.triton.problem import Problem, Vectors
from dmlkernels.backends.triton.saved import saved_size, split

FUSED_MULTIPLY_ADD = {"enable_fp_fusion": True}  # the default up to Triton 3.9, which wants it said


def forward(pairs: Pairs, arch: Architecture) -> Forward:
    """Finished statistics of every row; saved are the reciprocal norms of all vectors, and flags: see saved.py."""
    problem = Problem.of(pairs)
    saved = problem.columns.new_empty(saved_size(pairs), dtype=pairs.dtype)
    norms, flags = split(pairs, saved)
    _find_norms(problem, norms)
    if flags is not None:
        flags.zero_()
    rows, columns = problem.sides(norms)
    epilogue, width = problem.epilogue, len(problem.epilogue.empty)
    tiles = forward_tiles(problem.work(), arch, rows.size)
    blocks = triton.cdiv(rows.size, tiles.M)
    limit = max(MEMORY_FLOOR, rows.vectors.numel() + columns.vectors.numel())
    count = num_splits(blocks, columns.size, tiles.N, arch.multiprocessors, rows.size * width, limit)
    out = saved.new_empty(count, rows.size, width)
    forward_kernel[(blocks, count)](
        rows.vectors, columns.vectors, out, rows.numbers, columns.numbers, rows.labels, columns.labels, flags,
        rows.size, columns.size, rows.stride, columns.stride, problem.borders, problem.hyper,
        FOLD=epilogue.fold, MERGE=epilogue.merge, HAS_GRAD=epilogue.has_grad, EMPTY=epilogue.empty,
        WEIGHTS=int(epilogue.weighted), WITHIN=pairs.within, GROUP=problem.group,
        PRECISION=first_precision(epilogue, arch, problem.mixed),
        DIM=pairs.dim, M=tiles.M, N=tiles.N, BLOCK_D=tiles.BLOCK_D,
        num_warps=tiles.num_warps, num_stages=tiles.num_stages, **FUSED_MULTIPLY_ADD,
    )  # fmt: skip
    statistics = out[0]
    if count > 1:
        statistics = torch.empty_like(out[0])
        merge_kernel[(triton.cdiv(rows.size, 128),)](
            out, statistics, rows.labels, rows.size, count, epilogue.merge, epilogue.empty, 128, **FUSED_MULTIPLY_ADD
        )
    return Forward(problem.scatter_statistics(statistics), saved)


def backward(
    pairs: Pairs, forward: Forward, gradient: Tensor, needs_rows: bool, needs_columns: bool, arch: Architecture
) -> Gradients:
    """Gradients of rows and columns from that of the statistics."""
    problem = Problem.of(pairs)
    statistics, gradient = (problem.gather_statistics(given) for given in (forward.statistics, gradient))
    values = torch.stack(list(problem.epilogue.values(pairs.statistic, statistics, gradient)))
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
    own: Vectors,
    other: Vectors,
    side: int,
    borders: tuple[int, int, int],
    flags: Tensor | None,
    dtype: torch.dtype,
    arch: Architecture,
) -> Tensor:
    """Gradient of the vectors in ``own``, contiguous."""
    epilogue, dim = problem.epilogue, own.vectors.shape[1]
    tiles = backward_tiles(problem.work(), arch, side == COLUMNS)
    places = own.size // problem.group * next_power_of_2(problem.group) if side == COLUMNS else own.size
    blocks, slices = triton.cdiv(places, tiles.M), triton.cdiv(dim, tiles.SLICE)
    limit = max(MEMORY_FLOOR, own.vectors.numel() + other.vectors.numel())
    count = num_splits(blocks * slices, other.size, tiles.N, arch.multiprocessors, own.vectors.numel(), limit)
    out = own.vectors.new_empty((own.size, dim), dtype=dtype)
    partial = out if count == 1 else own.numbers.new_empty(count, own.size, dim)
    backward_kernel[(blocks, slices, count)](
        own.vectors, other.vectors, partial, own.numbers, other.numbers, own.labels, other.labels, flags,
        own.size, other.size, own.stride, other.stride, borders, problem.hyper,
        SLOPE=epilogue.slope, NUMBERS=(epilogue.num_values, int(epilogue.weighted)), SIDE=side, GROUP=problem.group,
        SPARSE=flags is not None, PARTIAL=count > 1,
        PRECISION=second_precision(epilogue, problem.operand, arch, problem.mixed),
        DIM=dim, M=tiles.M, N=tiles.N, BLOCK_D=tiles.BLOCK_D, SLICE=tiles.SLICE,
        num_warps=tiles.num_warps, num_stages=tiles.num_stages, **FUSED_MULTIPLY_ADD,
    )  # fmt: skip
    if count > 1:
        m, block_d = norm_tiles(dim)
        combine_kernel[(triton.cdiv(own.size, m),)](
            partial, own.vectors, own.numbers, own.labels, out, own.size, own.stride, count,
            GROUP=problem.group if side == COLUMNS else 1, DIM=dim, M=m, BLOCK_D=block_d, **FUSED_MULTIPLY_ADD,
        )  # fmt: skip
    return out


def _find_norms(problem: Problem, out: Tensor) -> None:
    """Reciprocal norms of the rows, where they are not columns too, and of the columns."""
    start = 0
    for vectors in (problem.columns,) if problem.within else (problem.rows, problem.columns):
        count, dim = vectors.shape
        m, block_d = norm_tiles(dim)
        norms_kernel[(triton.cdiv(count, m),)](
            vectors, out[start:], count, vectors.stride(0), DIM=dim, M=m, BLOCK_D=block_d, **FUSED_MULTIPLY_ADD
        )
        start += count
