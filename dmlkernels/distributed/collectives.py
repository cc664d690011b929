"""Collectives on rows, and their derivatives.

Gradients follow the convention of this folder: of a tensor that all ranks have, the mean over the ranks of their
gradients counts; of one that a rank owns, the gradient is ``size`` times that of one process.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed

from dmlkernels.distributed.first_order import first_order_only
from dmlkernels.ops.library import ReverseMode

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def all_reduce(tensor: Tensor, group: ProcessGroup) -> Tensor:
    """The sum over the ranks, in new memory."""
    total = tensor.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total, group=group)
    return total


def all_gather(rows: Tensor, group: ProcessGroup, sizes: Sequence[int]) -> Tensor:
    """Concatenate what each rank has, ``sizes[r]`` rows of rank r."""
    longest, ranks = max(sizes), len(sizes)
    mine = rows.contiguous()
    if longest == 0:
        return mine
    if rows.shape[0] < longest:
        padding = mine.new_zeros(longest - rows.shape[0], *rows.shape[1:])
        mine = torch.cat((mine, padding))
    everyone = mine.new_empty(ranks * longest, *rows.shape[1:])
    _all_gather_single(everyone, mine, group)
    if min(sizes) == longest:
        return everyone
    parts = everyone.split(longest)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def exchange(rows: Tensor, group: ProcessGroup, sizes: Sequence[int]) -> Tensor:
    """Send ``sizes[r]`` of the rows to rank r, in turn, and stack what arrives: (ranks, own size, ...)."""
    own, ranks = sizes[distributed.get_rank(group)], len(sizes)
    arrived = rows.new_empty(ranks * own, *rows.shape[1:])
    distributed.all_to_all_single(arrived, rows.contiguous(), [own] * ranks, list(sizes), group=group)
    return arrived.unflatten(0, (ranks, own))


def _all_gather_single(output: Tensor, rows: Tensor, group: ProcessGroup) -> None:
    # The newer name of the same thing: torch 2.13 warns of the older one.
    gather = getattr(distributed, "all_gather_single", None) or distributed.all_gather_into_tensor
    gather(output, rows, group=group)


class _Sum(ReverseMode):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: ProcessGroup) -> Tensor:
        ctx.size = distributed.get_world_size(group)
        return all_reduce(tensor, group)

    @staticmethod
    @first_order_only
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.size, None


def sum_over_ranks(tensor: Tensor, group: ProcessGroup) -> Tensor:
    """The sum of what each rank owns; the same bits on all of them.

    Nothing travels in backward: what follows is computed from the sum alone, so that its gradient is the same
    everywhere. Detach whatever else depends on a rank's own numbers.
    """
    return _Sum.apply(tensor, group)


class _SumOfParts(ReverseMode):
    @staticmethod
    def forward(ctx: Any, part: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return all_reduce(part, group)

    @staticmethod
    @first_order_only
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return all_reduce(gradient, ctx.group), None


def sum_of_parts(part: Tensor, group: ProcessGroup) -> Tensor:
    """The sum of what each rank has, for what a rank's own rows make of it; their gradients are summed."""
    return _SumOfParts.apply(part, group)


class _Gather(ReverseMode):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, group: ProcessGroup, sizes: Sequence[int]) -> Tensor:
        ctx.group, ctx.sizes = group, sizes
        return all_gather(rows, group, sizes)

    @staticmethod
    @first_order_only
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return scatter_sum(gradient, ctx.group, ctx.sizes), None, None


def gather_rows(rows: Tensor, group: ProcessGroup, sizes: Sequence[int]) -> Tensor:
    """Concatenate the rows that each rank owns, ``sizes[r]`` of rank r; gradients are summed and scattered."""
    return _Gather.apply(rows, group, tuple(sizes))


def scatter_sum(rows: Tensor, group: ProcessGroup, sizes: Sequence[int]) -> Tensor:
    """The sum over ranks of this rank's rows of what each has for everyone, added in rank order in float32 or wider."""
    arrived = exchange(rows, group, sizes)
    return arrived.sum(0, dtype=torch.promote_types(rows.dtype, torch.float32)).to(rows.dtype)


class _Redivide(ReverseMode):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, group: ProcessGroup, sizes: Sequence[int], wanted: Sequence[int]) -> Tensor:
        ctx.group, ctx.sizes, ctx.wanted = group, sizes, wanted
        return _redivided(rows, group, sizes, wanted)

    @staticmethod
    @first_order_only
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return _redivided(gradient, ctx.group, ctx.wanted, ctx.sizes), None, None, None


def redivide_rows(rows: Tensor, group: ProcessGroup, sizes: Sequence[int], wanted: Sequence[int]) -> Tensor:
    """Of all rows in rank order, ``sizes[r]`` of rank r, take ``wanted[r]``; nothing travels where these are equal."""
    return rows if sizes == wanted else _Redivide.apply(rows, group, sizes, wanted)


def _redivided(rows: Tensor, group: ProcessGroup, sizes: Sequence[int], wanted: Sequence[int]) -> Tensor:
    rank = distributed.get_rank(group)
    sent, received = _shared(sizes, rank, wanted), _shared(wanted, rank, sizes)
    arrived = rows.new_empty(wanted[rank], *rows.shape[1:])
    distributed.all_to_all_single(arrived, rows.contiguous(), received, sent, group=group)
    return arrived


def _shared(sizes: Sequence[int], place: int, others: Sequence[int]) -> list[int]:
    """How many rows of one part each part of another division of the same rows has."""
    start = sum(sizes[:place])
    stop = start + sizes[place]
    bounds = [0, *accumulate(others)]
    return [max(min(stop, after) - max(start, before), 0) for before, after in pairwise(bounds)]
