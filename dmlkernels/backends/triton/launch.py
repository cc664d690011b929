"""Launches of the kernels. Nothing here reads a number from the device."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from dmlkernels.backends.formulas import Loss, LossGradient
from dmlkernels.backends.gpu.splits import cdiv
from dmlkernels.backends.pairs import Forward, Gradients, Pairs
from dmlkernels.backends.triton.formulas import losses
from dmlkernels.backends.triton.kernels.backward import backward_kernel, both_kernel
from dmlkernels.backends.triton.kernels.forward import forward_kernel
from dmlkernels.backends.triton.kernels.gradient_block import BOTH, COLUMNS, ROWS
from dmlkernels.backends.triton.kernels.gradients import combine_kernel
from dmlkernels.backends.triton.kernels.scalars import coded
from dmlkernels.backends.triton.labels import RawLabels
from dmlkernels.backends.triton.launcher import joined, launch
from dmlkernels.backends.triton.plan import Architecture, norm_tiles
from dmlkernels.backends.triton.precision import matmul_precision
from dmlkernels.backends.triton.problem import Problem, Vectors, strides
from dmlkernels.backends.triton.saved import saved_size
from dmlkernels.backends.triton.schedule import Plan, backward_schedule, forward_schedule, joint_schedule


def forward(pairs: Pairs, arch: Architecture, raw: RawLabels | None = None, loss: Loss | None = None) -> Forward:
    """Finished statistics of every row, and their ``loss``; what is saved is in saved.py. Resolves ``raw`` labels of
    rows first."""
    plan, width = forward_schedule(pairs.shape, arch, matmul_precision()), pairs.statistic.width
    saved = pairs.rows.new_empty(saved_size(pairs.shape), dtype=pairs.dtype)
    problem = Problem.prepare(pairs, saved, plan, raw)
    rows, columns = problem.sides()
    statistics = saved.new_empty(pairs.num_rows, width)
    joins = loss is not None and losses.num_programs(loss.formula, pairs.num_rows) == 1
    of_loss = losses.launched(loss if joins else None, width)
    launch(
        forward_kernel, plan.grid,
        rows.factors, columns.factors, statistics if plan.partial is None else saved.new_empty(plan.partial),
        problem.saved.counters, statistics, rows.values, columns.values, rows.labels, columns.labels,
        problem.saved.order, problem.saved.flags, of_loss.formula, of_loss.loss, *plan.sizes, of_loss.num_added,
        strides(rows, columns), plan.borders, plan.hyper, of_loss.numbers,
        constants=joined(plan.constants, of_loss.constants),
    )  # fmt: skip
    if loss is not None and not joins:
        losses.evaluate(loss, statistics)
    return Forward(statistics, saved)


def backward(
    pairs: Pairs,
    forward: Forward,
    gradient: Tensor | LossGradient,
    needs_rows: bool,
    needs_columns: bool,
    arch: Architecture,
) -> Gradients:
    """Gradients of rows and columns from that of the statistics, or of a loss of them."""
    shape, matmul, of_rows, of_columns = pairs.shape, matmul_precision(), None, None
    joint = joint_schedule(shape, arch, matmul) if needs_rows and needs_columns else None
    if joint is not None:
        return _both(pairs, forward, gradient, joint)
    columns_out = None if pairs.columns is None or not needs_columns else pairs.columns.new_empty(pairs.columns.shape)
    plan = backward_schedule(shape, arch, matmul, BOTH if pairs.within else ROWS)
    column_plan = plan if columns_out is None else backward_schedule(shape, arch, matmul, COLUMNS)
    # A program that writes all of a gradient has read the parts that lie there, and no other does then.
    memory = columns_out if column_plan.slices == 1 else None
    problem, values = Problem.restore(pairs, forward, gradient, plan, memory)
    rows, columns = problem.sides(values)
    if needs_rows:
        out = rows.vectors.new_empty(rows.vectors.shape, dtype=pairs.rows.dtype)
        of_rows = _gradient(plan, rows, columns, out, problem.saved.flags, problem.saved.order)
    if columns_out is not None:
        flags = problem.saved.flags
        if pairs.within:
            columns, flags = problem.true_columns(), None
        of_columns = _gradient(column_plan, columns, rows, columns_out, flags)
    _combine(problem, of_rows, of_columns)
    return Gradients(
        None if of_rows is None else of_rows.out.view(pairs.rows.shape), None if of_columns is None else of_columns.out
    )


def _both(pairs: Pairs, forward: Forward, gradient: Tensor | LossGradient, plan: Plan) -> Gradients:
    """Both gradients in one launch."""
    problem, values = Problem.restore(pairs, forward, gradient, plan, None)
    rows, columns = problem.sides(values)
    of_rows = rows.vectors.new_empty(rows.vectors.shape)
    of_columns = columns.vectors.new_empty(columns.vectors.shape)
    launch(
        both_kernel, plan.grid,
        (rows.factors, rows.raw, of_rows, rows.values, rows.labels),
        (columns.factors, columns.raw, of_columns, columns.values, columns.labels),
        problem.saved.flags, *plan.sizes, (*strides(rows, columns), rows.stride, columns.stride), plan.borders,
        plan.hyper, constants=plan.constants,
    )  # fmt: skip
    return Gradients(of_rows.view(pairs.rows.shape), of_columns)


class _Gradient(NamedTuple):
    """Gradient of the vectors in ``owned``, contiguous, and shares that are yet to be added up in it."""

    owned: Vectors
    out: Tensor
    partial: Tensor | None
    cut: bool  # the norms are of cut vectors


def _gradient(
    plan: Plan, owned: Vectors, streamed: Vectors, out: Tensor, flags: Tensor | None, order: Tensor | None = None
) -> _Gradient:
    partial = None if plan.partial is None else owned.values.new_empty(plan.partial)
    launch(
        backward_kernel, plan.grid,
        owned.factors, streamed.factors, out if partial is None else partial,
        owned.raw, owned.values, streamed.values,
        owned.labels, streamed.labels, order, flags, *plan.sizes, (*strides(owned, streamed), owned.stride),
        plan.borders, plan.hyper, constants=plan.constants,
    )  # fmt: skip
    return _Gradient(owned, out, partial, plan.cut)


def _combine(problem: Problem, of_rows: _Gradient | None, of_columns: _Gradient | None) -> None:
    """Add up shares of both gradients, in one launch if there are any."""
    sides = [None if one is None or one.partial is None else one for one in (of_rows, of_columns)]
    if not any(sides):
        return
    statistic, (m, block_d) = problem.pairs.statistic, norm_tiles(problem.pairs.dim)
    tensors: list[Tensor | None] = []
    sizes: list[tuple[int, int, int]] = []  # vectors, their stride, splits
    for one in sides:
        if one is None or one.partial is None:
            tensors += [None] * 5
            sizes.append((0, 0, 0))
        else:
            tensors += [one.partial, one.owned.vectors, one.owned.values, one.owned.labels, one.out]
            sizes.append((one.owned.size, one.owned.stride, one.partial.shape[0]))
    launch(
        combine_kernel, (sum(cdiv(count, m) for count, _, _ in sizes),),
        *tensors, problem.saved.order, *(coded(*of_side) for of_side in sizes),
        CUT=any(one.cut for one in sides if one), GROUP=statistic.group, VIEWS=statistic.views, DIM=problem.pairs.dim,
        M=m, BLOCK_D=block_d,
    )  # fmt: skip
