"""PD-Loss's moments without tiles, where D x D matrices cost less: four launches forward and four backward, whatever
the number of columns.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dmlkernels.backends.gpu.layout import unit_stride
from dmlkernels.backends.gpu.splits import MEMORY_FLOOR, cdiv, num_splits
from dmlkernels.backends.pairs import Forward, Gradients, Pairs
from dmlkernels.backends.triton import layout
from dmlkernels.backends.triton.kernels.closed_form import (
    add_scatter_kernel,
    column_gradient_kernel,
    moments_kernel,
    row_gradient_kernel,
    scatter_kernel,
)
from dmlkernels.backends.triton.launcher import launch
from dmlkernels.backends.triton.plan import Architecture, next_power_of_2
from dmlkernels.backends.triton.saved import closed_size, pitch_of, split_closed

STAGES = 2
ROWS, COLUMNS, VECTORS = 16, 32, 32  # of a tile: rows, columns, and vectors that are summed


def forward(pairs: Pairs, arch: Architecture) -> Forward:
    """Finished statistics of every row."""
    saved = pairs.rows.new_empty(closed_size(pairs.shape), dtype=pairs.dtype)
    parts, sums = split_closed(pairs.shape, saved)
    layout.prepare_vectors(pairs, parts)
    rows, columns = _vectors(pairs)
    _scatter(columns, parts.columns, None, sums, arch)
    statistics = saved.new_empty(pairs.num_rows, pairs.statistic.width)
    launch(
        moments_kernel, (cdiv(pairs.num_rows, ROWS),),
        rows, parts.rows, parts.labels, columns, parts.columns, sums, statistics,
        rows.stride(0), columns.stride(0), pairs.num_rows, pairs.num_columns,
        DIM=pairs.dim, **_row_tiles(pairs.dim, arch),
    )  # fmt: skip
    return Forward(statistics, saved)


def backward(
    pairs: Pairs, forward: Forward, gradient: Tensor, needs_rows: bool, needs_columns: bool, arch: Architecture
) -> Gradients:
    """Gradients of rows and columns from that of the statistics."""
    parts, sums = split_closed(pairs.shape, forward.saved.contiguous())
    rows, columns = _vectors(pairs)
    values = sums.new_empty(3, pitch_of(pairs.num_rows))
    sizes = (rows.stride(0), columns.stride(0), pairs.num_rows, pairs.num_columns, values.shape[1])
    of_rows = pairs.rows.new_empty(rows.shape) if needs_rows else None
    launch(
        row_gradient_kernel, (cdiv(pairs.num_rows, ROWS),),
        rows, parts.rows, parts.labels, columns, parts.columns, sums,
        forward.statistics.contiguous(), gradient.contiguous(), values, of_rows, *sizes,
        DIM=pairs.dim, **_row_tiles(pairs.dim, arch),
    )  # fmt: skip
    of_columns = columns.new_empty(columns.shape) if needs_columns else None
    if of_columns is not None:
        assert parts.rows is not None
        row_sums = torch.empty_like(sums)
        _scatter(rows, parts.rows, values, row_sums, arch)
        crowded = arch.number >= 100 and pairs.dim > 128  # of registers
        launch(
            column_gradient_kernel, (cdiv(pairs.num_columns, COLUMNS),),
            columns, parts.columns, rows, parts.rows, parts.labels, values, sums, row_sums, of_columns, *sizes,
            DIM=pairs.dim, M=COLUMNS, N=32, OUT=_block(pairs.dim, 64 if crowded else 128),
            BLOCK_D=_block(pairs.dim, 32), num_warps=8, num_stages=STAGES,
        )  # fmt: skip
    return Gradients(of_rows, of_columns)


def _vectors(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Rows, halves as float32, and columns."""
    assert pairs.columns is not None, "the closed form sums over columns"
    rows = pairs.rows.float() if pairs.rows.dtype.itemsize == 2 else pairs.rows
    return unit_stride(rows), unit_stride(pairs.columns)


def _scatter(vectors: Tensor, norms: Tensor, values: Tensor | None, out: Tensor, arch: Architecture) -> None:
    """Sums of unit vectors and of their outer products, split so that the device is full."""
    count, dim = vectors.shape
    block_d = _block(dim, 64 if arch.number < 100 else 32)  # there Triton has no tensor cores for float64
    blocks = cdiv(dim, block_d)
    limit = max(MEMORY_FLOOR, vectors.numel())
    splits = num_splits(blocks * (blocks + 1) // 2, count, VECTORS, arch.multiprocessors, out.numel(), limit)
    partial = out.new_empty(splits, dim + 1, dim)
    launch(
        scatter_kernel, (blocks, blocks, splits),
        vectors, norms, values, partial, count, vectors.stride(0), norms.shape[1],
        DIM=dim, N=VECTORS, BLOCK_D=block_d, num_warps=8, num_stages=STAGES,
    )  # fmt: skip
    add_block = _block(dim, 32)
    blocks = cdiv(dim, add_block)
    launch(
        add_scatter_kernel, (blocks, blocks),
        partial, vectors, norms, out, count, splits,
        CENTRED=values is None, DIM=dim, BLOCK_D=add_block,
    )  # fmt: skip


def _row_tiles(dim: int, arch: Architecture) -> dict[str, Any]:
    """Of both kernels of rows. ROCm's have twice the registers."""
    warps = 4 if arch.vendor == "hip" else 8
    return {
        "M": ROWS, "OUT": _block(dim, 64), "BLOCK_D": _block(dim, 32), "num_warps": warps, "num_stages": STAGES,
    }  # fmt: skip


def _block(dim: int, most: int) -> int:
    """Numbers of a vector at a time; tensor cores want 16."""
    return min(most, max(16, next_power_of_2(dim)))
