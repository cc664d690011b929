"""Launches of the engine. Nothing here reads a number from the device."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.backends.gpu.splits import MEMORY_FLOOR, cdiv, multiprocessors
from dmlkernels.backends.native.cuda import module, plan
from dmlkernels.backends.native.cuda.problem import Inputs
from dmlkernels.backends.pairs import Forward, Gradients, Pairs


def saved_shape(pairs: Pairs) -> tuple[int, ...]:
    """Shape of the reciprocal norms of all vectors."""
    return (pairs.num_rows * pairs.statistic.views + pairs.num_columns,)


def forward(pairs: Pairs) -> Forward:
    """Finished statistics of every row."""
    inputs = Inputs(pairs)
    width = pairs.statistic.width
    saved = empty(saved_shape(pairs), inputs.rows, pairs.dtype)
    statistics = empty((pairs.num_rows, width), saved, saved.dtype)
    problem = inputs.problem(saved)
    problem.find_norms = inputs.small
    if not inputs.small:
        _find_norms(inputs, saved, problem.stream)

    job = module.compiled.Job()
    job.owned, job.streamed, job.diagonal = inputs.row_side(saved), inputs.others(saved), pairs.within
    job.role = module.compiled.Role.rows
    per_tile, units = inputs.per_tile // pairs.statistic.views, multiprocessors(saved.device)
    if inputs.small:
        split = plan.split_small_problem(job.owned.count, per_tile, 1, 1, units)
    else:
        limit = max(MEMORY_FLOOR, inputs.rows.numel())
        split = plan.split_large_problem(
            job.owned.count, job.streamed.count, per_tile, 1, units, statistics.numel(), limit
        )
    partial = _split_work(job, split, statistics, statistics.shape, saved)
    problem.set_job(0, job)
    module.compiled.forward(problem)
    del partial
    return Forward(statistics, saved)


def backward(pairs: Pairs, forward: Forward, gradient: Tensor, needs_rows: bool, needs_columns: bool) -> Gradients:
    """Gradients of rows and columns from that of the statistics."""
    inputs = Inputs(pairs)
    saved = forward.saved.contiguous()
    problem = inputs.problem(saved)
    statistics, gradient = forward.statistics.contiguous(), gradient.to(saved.dtype).contiguous()
    problem.statistics, problem.gradient = statistics.data_ptr(), gradient.data_ptr()
    role = module.compiled.Role
    of_rows = of_columns = None
    kept = []
    if needs_rows:
        job = module.compiled.Job()
        job.owned, job.streamed, job.diagonal = inputs.row_side(saved), inputs.others(saved), pairs.within
        job.role = role.both if pairs.within else role.rows
        of_rows = empty(pairs.rows.shape, inputs.rows, inputs.dtype)
        kept.append(_own(job, inputs, of_rows, pairs.statistic.views, 1, saved))
        problem.set_job(0, job)
    if needs_columns and inputs.columns is not None:
        job = module.compiled.Job()
        job.owned, job.streamed, job.role = inputs.column_side(saved), inputs.row_side(saved), role.columns
        of_columns = empty(inputs.columns.shape, inputs.columns, inputs.dtype)
        kept.append(_own(job, inputs, of_columns, 1, inputs.group, saved))
        problem.set_job(1, job)
    if kept:
        module.compiled.backward(problem)
    return Gradients(
        None if of_rows is None else of_rows.to(pairs.rows.dtype),
        None if of_columns is None or pairs.columns is None else of_columns.to(pairs.columns.dtype),
    )


def empty(shape: tuple[int, ...], like: Tensor, dtype: torch.dtype) -> Tensor:
    """Memory for the engine to fill."""
    return like.new_empty(shape, dtype=dtype)


def _own(job: module.compiled.Job, inputs: Inputs, out: Tensor, views: int, group: int, saved: Tensor) -> Tensor | None:
    """Share out a gradient's work; gives what must be kept until it is launched."""
    slices, units = cdiv(out.shape[-1], inputs.slice), multiprocessors(saved.device)
    per_tile = inputs.per_tile // views // group * group
    if inputs.small:
        split = plan.split_small_problem(job.owned.count, per_tile, slices, group, units)
    else:
        limit = max(MEMORY_FLOOR, inputs.rows.numel() + (0 if inputs.columns is None else inputs.columns.numel()))
        split = plan.split_large_problem(
            job.owned.count, job.streamed.count, per_tile, slices, units, out.numel(), limit
        )
    return _split_work(job, split, out, out.shape, saved)


def _split_work(
    job: module.compiled.Job, split: plan.WorkSplit, out: Tensor, shape: torch.Size, saved: Tensor
) -> Tensor | None:
    job.per_block, job.blocks, job.slices, job.num_splits = split
    job.out = out.data_ptr()
    if split.num_splits == 1:
        return None
    partial = empty((split.num_splits, *shape), saved, saved.dtype)
    job.partial = partial.data_ptr()
    return partial


def _find_norms(inputs: Inputs, saved: Tensor, stream: int) -> None:
    start, views = 0, inputs.rows if inputs.rows.dim() == 3 else inputs.rows[None]
    for vectors in (*views, *(() if inputs.columns is None else (inputs.columns,))):
        count, dim = vectors.shape
        out = saved.data_ptr() + start * saved.element_size()
        module.compiled.norms(inputs.compiled_type, vectors.data_ptr(), count, dim, vectors.stride(0), out, stream)
        start += count
