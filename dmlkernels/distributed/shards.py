"""Proxies as a DTensor: the part of this rank, differentiably, and where it begins."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed

from dmlkernels.distributed.first_order import first_order_only
from dmlkernels.distributed.group import Ranks
from dmlkernels.ops.library import ReverseMode


def check_placements(name: str, proxies: Any) -> None:
    """Sharded over classes along one dimension of the mesh at most, replicated along all others."""
    placements = proxies.placements
    if all(placement.is_replicate() for placement in placements):
        return
    sharded = [placement for placement in placements if not placement.is_replicate()]
    if len(sharded) > 1 or not sharded[0].is_shard(0):
        raise ValueError(
            f"{name}: got a DTensor placed {placements}, expected Shard(0) on a mesh of one dimension, "
            "(Replicate(), Shard(0)) on one of two, or Replicate()"
        )


def check_whole_groups(name: str, rows: int, group: int) -> None:
    """No group of neighbouring rows straddles two shards."""
    if rows % group:
        raise ValueError(
            f"{name}: a shard has {rows} rows, expected a multiple of {group}: the {group} rows of a class must be on "
            "one rank; shard a number of classes that is a multiple of the number of shards"
        )


class _Local(ReverseMode):
    @staticmethod
    def forward(ctx: Any, local: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return local.view_as(local)

    @staticmethod
    @first_order_only
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ranks: Ranks = ctx.ranks
        # In place, since a copy would be as large as the shard: nobody else holds what the losses' own nodes give.
        if gradient.requires_grad or not gradient.is_contiguous():
            gradient = gradient.clone(memory_format=torch.contiguous_format)
        # What a rank owns gets ``size`` times the gradient of one process, and what all have the mean over the ranks.
        gradient.div_(ranks.size)
        shared_by = ranks.group if ranks.shards is None else ranks.replicas
        if shared_by is not None:
            distributed.all_reduce(gradient, group=shared_by)
        return gradient, None


def local_shard(proxies: Any, ranks: Ranks) -> Tensor:
    """This rank's rows of a DTensor, whose gradient is a DTensor placed alike: that of one process, exactly."""
    return _Local.apply(proxies.to_local(), ranks)


def first_row(columns: list[int], ranks: Ranks) -> int:
    """Where this rank's shard begins, from the number of rows that each rank of the group has."""
    if ranks.shards is None:
        return 0
    return sum(columns[place] for place in ranks.line[: distributed.get_rank(ranks.shards)])
