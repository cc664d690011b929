"""Proxies laid out over a mesh: which rows a rank has, and tensors of them that no rank ever has whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dmlkernels.distributed.collectives import all_gather
from dmlkernels.distributed.group import Ranks, host_group

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

DRAWN_ROWS = 1024  # rows of random numbers that have a seed of their own


def check_mesh(name: str, mesh: Any) -> None:
    """A mesh of one dimension (class) or two (data, class)."""
    if type(mesh).__name__ != "DeviceMesh":
        raise TypeError(f"{name}: got {type(mesh).__name__}, expected a DeviceMesh")
    if mesh.ndim not in (1, 2):
        raise ValueError(f"{name}: got {mesh.ndim} dimensions, expected 1 (class) or 2 (data, class)")


def placements_of(mesh: DeviceMesh) -> tuple[Any, ...]:
    """Placements of proxies: sharded over classes along the last mesh dimension, replicated along the first of two."""
    from torch.distributed.tensor import Replicate, Shard

    return (Shard(0),) if mesh.ndim == 1 else (Replicate(), Shard(0))


def shard_sizes(number: int, parts: int) -> list[int]:
    """How many of ``number`` rows each of so many shards has, as ``Shard(0)`` divides them."""
    longest = -(-number // parts)
    return [min(longest, max(number - place * longest, 0)) for place in range(parts)]


def rows_of(number: int, mesh: DeviceMesh) -> range:
    """The rows of this rank among ``number``."""
    dimension = mesh.ndim - 1
    sizes, place = shard_sizes(number, mesh.size(dimension)), mesh.get_local_rank(dimension)
    start = sum(sizes[:place])
    return range(start, start + sizes[place])


def own_slice(number: int, mesh: DeviceMesh) -> slice:
    """The same, to index with."""
    rows = rows_of(number, mesh)
    return slice(rows.start, rows.stop)


def from_rows(local: Tensor, number: int, mesh: DeviceMesh) -> Any:
    """A DTensor of ``number`` rows from those of this rank."""
    from torch.distributed.tensor import DTensor

    shape = torch.Size((number, *local.shape[1:]))
    stride = torch.empty(shape, device="meta").stride()
    return DTensor.from_local(local, mesh, placements_of(mesh), run_check=False, shape=shape, stride=stride)


def from_columns(local: Tensor, number: int, mesh: DeviceMesh) -> Any:  # (N, columns) -> (N, number)
    """A DTensor of ``number`` columns, divided as rows of proxies are, from those of this rank."""
    from torch.distributed.tensor import DTensor, Replicate, Shard

    placements = (Shard(1),) if mesh.ndim == 1 else (Replicate(), Shard(1))
    shape = torch.Size((local.shape[0], number))
    return DTensor.from_local(local, mesh, placements, run_check=False, shape=shape, stride=(number, 1))


def rows_like(whole: Tensor, like: Any) -> Any:
    """Rows that every rank has whole, as a DTensor like another."""
    local = whole[own_slice(whole.shape[0], like.device_mesh)].to(like.device, like.dtype, copy=True)
    return from_rows(local, whole.shape[0], like.device_mesh)


def common_seed(ranks: Ranks, generator: torch.Generator | None = None) -> int:
    """A number drawn on the first rank, from its ``generator`` or torch's own; every rank draws."""
    device = "cpu" if generator is None else generator.device
    drawn = int(torch.randint(2**62, (), generator=generator, device=device))
    everyone = all_gather(torch.tensor([drawn], device="cpu"), host_group(ranks.group), [1] * ranks.size)
    return int(everyone[0])


def drawn_rows(rows: range, seed: int, draw: Callable[[int, torch.Generator], Tensor], device: Any) -> Tensor:
    """Random rows, each of which depends on the seed and its number alone: ``draw(rows, generator)`` gives some."""
    generator = torch.Generator(device)
    parts = []
    for block in range(rows.start // DRAWN_ROWS, -(-rows.stop // DRAWN_ROWS)):
        generator.manual_seed((seed + block * 0x9E3779B97F4A7C15) % 2**63)
        first = block * DRAWN_ROWS
        parts.append(draw(DRAWN_ROWS, generator)[max(rows.start - first, 0) : rows.stop - first])
    return torch.cat(parts) if parts else draw(0, generator)
