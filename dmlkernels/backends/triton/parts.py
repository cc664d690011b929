"""Vectors split into parts, for the backward kernels that multiply those: see kernels/parts.py."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.backends.gpu.splits import cdiv
from dmlkernels.backends.triton.kernels.parts import Parts, split_kernel
from dmlkernels.backends.triton.kernels.scalars import coded
from dmlkernels.backends.triton.launcher import launch
from dmlkernels.backends.triton.plan import norm_tiles
from dmlkernels.backends.triton.problem import Vectors
from dmlkernels.backends.triton.schedule import Plan

SCORED, ADDED = torch.float16, torch.bfloat16  # see kernels/parts.py


def in_parts(rows: Vectors, columns: Vectors, plan: Plan, memory: Tensor | None) -> tuple[Vectors, Vectors]:
    """Both sides with parts of their unit vectors.

    Args:
        memory: of the gradient of the columns, which two parts of bfloat16 fill: only the gradient of the rows is added
            up from these, and that has been launched before.
    """
    dim = rows.vectors.shape[1]
    rows, columns = with_memory(rows, plan.parts, None), with_memory(columns, plan.parts, memory)
    m, block_d = norm_tiles(dim)
    launch(
        split_kernel, (cdiv(rows.size, m) + cdiv(columns.size, m),),
        rows.vectors, rows.values, rows.scored, rows.added, columns.vectors, columns.values, columns.scored,
        columns.added, coded(rows.size, rows.stride, columns.size, columns.stride),
        PARTS=plan.parts, CUT=plan.cut, DIM=dim, M=m, BLOCK_D=block_d,
    )  # fmt: skip
    return rows, columns


def with_memory(side: Vectors, parts: Parts, memory: Tensor | None) -> Vectors:
    count, dim = side.vectors.shape
    added_bytes = count * parts.added * dim * ADDED.itemsize
    if memory is not None and memory.numel() * memory.itemsize == added_bytes:
        added = memory.view(-1).view(ADDED).view(count, -1)
    else:
        added = side.vectors.new_empty(count, parts.added * dim, dtype=ADDED)
    return side._replace(scored=side.vectors.new_empty(count, parts.scored * dim, dtype=SCORED), added=added)
