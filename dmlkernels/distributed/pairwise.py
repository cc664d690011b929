"""The sums over all pairs of points of a process group, each pair computed on one rank."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, distributed

from dmlkernels.distributed.first_order import first_order_only
from dmlkernels.distributed.gradient_ring import GradientRing
from dmlkernels.distributed.pair_blocks import NUM_POINTS, PairBlock, Points, pool_totals
from dmlkernels.distributed.plan import Plan
from dmlkernels.distributed.ring import Block
from dmlkernels.distributed.schedule import Entry, Side
from dmlkernels.ops.library import ReverseMode


def pair_totals(plan: Plan, points: list[Points], num_points: Tensor) -> Tensor:  # (TOTAL,)
    """The sums over all pairs, the same bits on every rank.

    A collective call, and so is its backward: every rank must call that too, with the same gradient.

    Args:
        plan: the same on every rank, but for whose it is.
        points: by kind, this rank's own; or every rank's, of the kind that does not travel.
        num_points: (), a number to sum over the ranks as well, such as how many of its own points take part.
    """
    samples, *others = points
    # By class, so that the pairs of a class gather in few tiles: the slope of a field is zero on most of the others.
    order = samples.labels.argsort(stable=True)
    ordered = Points(samples.vectors.index_select(0, order), samples.labels[order])
    tensors = (tensor for of_kind in (ordered, *others) for tensor in of_kind)
    # With it every rank has a graph, even one whose points are none and want no gradient.
    anchor = torch.zeros((), device=num_points.device, requires_grad=any(plan.needs))
    total: Tensor = _PairTotals.apply(plan, anchor, num_points, *tensors)
    return total


class _PairTotals(ReverseMode):
    @staticmethod
    def forward(ctx: Any, plan: Plan, anchor: Tensor, num_points: Tensor, *tensors: Tensor) -> Tensor:
        points = _by_kind(tensors)
        ring, own = plan.ring(points), plan.own(points)
        totals: list[Tensor] = []
        saved: list[Tensor] = []

        def visit(step: int, block: Block) -> None:
            for _, pairs in _pair_blocks(plan, step, own, plan.unpack(block, points, ring.source(step))):
                total, kept = pairs.forward()
                totals.append(total)
                saved.append(kept)

        ring.visit(plan.pack(points), visit)
        like = anchor.new_empty(0, dtype=_dtype(points))
        total = pool_totals(totals, like)
        total[NUM_POINTS] = num_points
        gathered = [torch.empty_like(total) for _ in range(ring.size)]
        distributed.all_gather(gathered, total, group=plan.group)
        merged = pool_totals(gathered, like)
        ctx.plan = plan
        ctx.save_for_backward(merged, *tensors, *saved)
        return merged.clone()

    @staticmethod
    @first_order_only
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        plan: Plan = ctx.plan
        num_tensors = 2 * len(plan.kinds)
        total, *rest = ctx.saved_tensors
        points = _by_kind(tuple(rest[:num_tensors]))
        found = _gradients(plan, points, rest[num_tensors:], total, gradient)
        return None, None, None, *(part for one in found for part in (one, None))


def _gradients(
    plan: Plan, points: list[Points], saved: list[Tensor], total: Tensor, gradient: Tensor
) -> list[Tensor | None]:
    """Of this rank's points, by kind."""
    ring, own, kept = plan.ring(points), plan.own(points), iter(saved)
    gradients = GradientRing(plan, ring, points)

    def visit(step: int, block: Block) -> None:
        gradients.begin(step)
        for entry, pairs in _pair_blocks(plan, step, own, plan.unpack(block, points, ring.source(step))):
            needs_rows = plan.needs[entry.rows.kind]
            needs_columns = entry.columns is not None and plan.needs[entry.columns.kind]
            of_forward = next(kept)
            if needs_rows or needs_columns:
                of_rows, of_columns = pairs.backward(of_forward, total, gradient, needs_rows, needs_columns)
                if needs_rows:
                    gradients.add(step, entry.rows, of_rows)
                if entry.columns is not None and needs_columns:
                    gradients.add(step, entry.columns, of_columns)
        gradients.end()

    ring.visit(plan.pack(points), visit)
    return gradients.finish()


def _pair_blocks(plan: Plan, step: int, own: list[Points], theirs: list[Points]) -> Iterator[tuple[Entry, PairBlock]]:
    """Those of a step that have pairs."""

    def cut(side: Side) -> Points:
        return (theirs if side.remote else own)[side.kind].cut(side.span)

    for entry in plan.schedule.at(step):
        columns = None if entry.columns is None else cut(entry.columns)
        pairs = PairBlock(entry.statistic, plan.backend, cut(entry.rows), columns)
        if not pairs.is_empty:
            yield entry, pairs


def _by_kind(tensors: tuple[Tensor, ...]) -> list[Points]:
    return [Points(*tensors[i : i + 2]) for i in range(0, len(tensors), 2)]


def _dtype(points: list[Points]) -> torch.dtype:
    """What sums are kept in."""
    dtype = torch.float32
    for of_kind in points:
        dtype = torch.promote_types(dtype, of_kind.vectors.dtype)
    return dtype
