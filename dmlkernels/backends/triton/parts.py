"""Vectors split into parts, for the backward kernels that multiply those: see kernels/parts.py."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.backends.gpu.splits import cdiv
from dmlkernels.backends.triton.kernels.parts import split_kernel
from dmlkernels.backends.triton.kernels.scalars import coded
from dmlkernels.backends.triton.launcher import launch
from dmlkernels.backends.triton.plan import norm_tiles
from dmlkernels.backends.triton.problem import Vectors
from dmlkernels.backends.triton.schedule import Plan


def in_parts(rows: Vectors, columns: Vectors, plan: Plan, memory: Tensor | None) -> tuple[Vectors, Vectors]:
    """Both sides with parts of their unit vectors.

    Args:
        memory: of the gradient of the columns, which their parts may use: when a program writes the gradient of some
            columns, it has read their parts, and no other program will.
    """
    x, w = _empty(rows, plan.parts), None if memory is None else within(memory, plan)
    w = _empty(columns, plan.parts) if w is None else w
    dim = rows.vectors.shape[1]
    m, block_d = norm_tiles(dim)
    launch(
        split_kernel, (cdiv(rows.size, m) + cdiv(columns.size, m),),
        rows.vectors, rows.values, x, columns.vectors, columns.values, w, coded(rows.size, columns.size),
        (rows.stride, x.stride(0)), (columns.stride, w.stride(0)),
        PARTS=plan.parts, CUT=plan.cut, DIM=dim, M=m, BLOCK_D=block_d,
    )  # fmt: skip
    return rows._replace(parts=x), columns._replace(parts=w)


def _empty(side: Vectors, parts: int) -> Tensor:
    count, dim = side.vectors.shape
    return side.vectors.new_empty(count, parts * dim, dtype=torch.float16)


def within(memory: Tensor, plan: Plan) -> Tensor | None:
    """Parts of each column where its gradient will be, if they fit and one program writes all of it."""
    if memory.itemsize < plan.parts * torch.float16.itemsize or plan.slices > 1:
        return None
    return memory.view(torch.float16)[:, : plan.parts * memory.shape[1]]
