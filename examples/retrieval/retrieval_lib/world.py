"""The processes of a run: one, or as many as torchrun started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class World:
    """Who this process is.

    Args:
        rank, size: its number among how many.
        device: what it trains on.
        control: a group on the CPU for what is no gradient, such as the wish to stop; None for one process.
    """

    rank: int
    size: int
    device: torch.device
    control: Any = None

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def group(self) -> Any:
        """The group of all ranks, for losses; None for one process."""
        return dist.group.WORLD if self.size > 1 else None

    def gathered(self, value: Any) -> list[Any]:
        """Everyone's value, in the order of ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.control)
        return values

    def from_main(self, value: Any) -> Any:
        """The value of rank 0."""
        return self.gathered(value)[0]

    def highest(self, value: int) -> int:
        """The highest of everyone's numbers; one small message, cheap enough for every step."""
        if self.size == 1:
            return value
        shared = torch.tensor([value])
        dist.all_reduce(shared, dist.ReduceOp.MAX, group=self.control)
        return int(shared)

    def barrier(self) -> None:
        """Wait for everyone."""
        self.highest(0)


@contextmanager
def start_world(device: str) -> Iterator[World]:
    """Join the other processes if torchrun started this one; a process group that is there already is used.

    Args:
        device: "cpu", "cuda", "cuda:1", or "" for a GPU where there is one.
    """
    if not device:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if "WORLD_SIZE" not in os.environ:
        yield World(0, 1, torch.device(device))
        return
    if device.startswith("cuda"):
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    ours = not dist.is_initialized()
    if ours:
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        size = dist.get_world_size()
        control = dist.new_group(backend="gloo") if size > 1 else None
        yield World(dist.get_rank(), size, torch.device(device), control)
    finally:
        if ours:
            dist.destroy_process_group()
