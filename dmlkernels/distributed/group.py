"""Which processes a call of a loss spans: those of a process group, or of the mesh of sharded proxies."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup
    from torch.distributed.device_mesh import DeviceMesh


@dataclass(frozen=True)
class Ranks:
    """The processes of a call. Each has a part of the batch; the parts follow each other in rank order.

    A mesh of two dimensions is a table: in a line of it, the ranks of ``shards`` have each a part of the classes, and
    in a column, those of ``replicas`` all have the same part.
    """

    group: ProcessGroup  # every rank
    shards: ProcessGroup | None = None  # None: each rank has all proxies
    replicas: ProcessGroup | None = None  # None: each shard is on one rank only

    @property
    def rank(self) -> int:
        return distributed.get_rank(self.group)

    @property
    def size(self) -> int:
        return distributed.get_world_size(self.group)

    @property
    def names(self) -> list[int]:
        """Numbers of the ranks in the whole world, for messages."""
        return distributed.get_process_group_ranks(self.group)

    @property
    def line(self) -> list[int]:
        """The ranks of ``shards``, as places in ``group``."""
        if self.shards is None:
            return [self.rank]
        return [self.names.index(name) for name in distributed.get_process_group_ranks(self.shards)]


def is_dtensor(value: object) -> bool:
    """Whether ``value`` is a DTensor, without importing what defines it."""
    return type(value).__name__ == "DTensor"


def mesh_of(dtensor: Any) -> DeviceMesh:
    """Where its parts are."""
    return dtensor.device_mesh


def ranks_of(process_group: ProcessGroup | None, proxies: Any) -> Ranks:
    """The ranks of a process group, or of the mesh of ``proxies`` if that is a DTensor."""
    if is_dtensor(proxies):
        ranks = ranks_of_mesh(proxies.device_mesh, _sharded_dimension(proxies))
        if process_group is not None:
            given = distributed.get_process_group_ranks(process_group)
            if sorted(given) != sorted(ranks.names):
                raise ValueError(f"process_group: has ranks {given}, expected None or those of the proxies' mesh")
        return ranks
    if not isinstance(process_group, distributed.ProcessGroup):
        raise TypeError(f"process_group: got {type(process_group).__name__}, expected a ProcessGroup or None")
    return Ranks(process_group)


def _sharded_dimension(proxies: Any) -> int | None:
    """Mesh dimension that shards; None if every dimension replicates, or if a loss does not take the placements."""
    sharded = [i for i, placement in enumerate(proxies.placements) if placement.is_shard(0)]
    return sharded[0] if len(sharded) == 1 else None


def ranks_of_mesh(mesh: DeviceMesh, sharded: int | None = -1) -> Ranks:
    """Its ranks, with classes sharded along a dimension; None: along none."""
    everyone = mesh.get_group(0) if mesh.ndim == 1 else _group_of_all(mesh)
    if sharded is None:
        return Ranks(everyone)
    if mesh.ndim == 1:
        return Ranks(everyone, mesh.get_group(0))
    if mesh.ndim > 2:
        raise ValueError(f"proxies: are on a mesh of {mesh.ndim} dimensions, expected 1 (class) or 2 (data, class)")
    sharded %= 2
    return Ranks(everyone, mesh.get_group(sharded), mesh.get_group(1 - sharded))


def _group_of_all(mesh: DeviceMesh) -> ProcessGroup:
    members = sorted(mesh.mesh.flatten().tolist())
    if members == distributed.get_process_group_ranks(_world()):
        return _world()

    def made() -> ProcessGroup:
        _check_same_number_of_groups(mesh)
        return distributed.new_group(members, use_local_synchronization=True)

    return _cached(("mesh", *members), made)


def _check_same_number_of_groups(mesh: DeviceMesh) -> None:
    """PyTorch names a group that only its members make after the number of groups they have: if that differs, they wait
    for each other under different names. Waits for a GPU, once."""
    number = len(distributed.distributed_c10d._world.pg_names)
    ends = torch.tensor([number, -number], device=mesh.device_type)
    for dimension in range(mesh.ndim):
        distributed.all_reduce(ends, distributed.ReduceOp.MAX, group=mesh.get_group(dimension))
    if int(ends.sum()):
        raise RuntimeError(
            f"mesh: {tuple(mesh.shape)} without all ranks of the world, and its ranks are in different numbers of "
            "process groups; expected a mesh of all ranks, or as many groups on each"
        )


def host_group(group: ProcessGroup) -> ProcessGroup:
    """A group of the same ranks whose collectives take CPU tensors, so that nobody waits for a GPU."""
    if "cpu:" in distributed.get_backend_config(group):
        return group
    members = distributed.get_process_group_ranks(group)
    if members != distributed.get_process_group_ranks(_world()):
        raise RuntimeError(
            f"process_group: of ranks {members} has the backend {distributed.get_backend_config(group)!r} and none for "
            "CPU tensors, by which ranks agree; expected init_process_group() to be called without a backend, or with "
            "'cpu:gloo,cuda:nccl'"
        )
    return _cached(("host", *members), lambda: distributed.new_group(members, backend="gloo"))


_groups: dict[Hashable, tuple[ProcessGroup, ProcessGroup]] = {}


def _cached(key: Hashable, make: Callable[[], ProcessGroup]) -> ProcessGroup:
    """A new group, made once in the life of the default group."""
    world = _world()
    made_in, group = _groups.get(key, (None, world))
    if made_in is not world:
        group = make()
        _groups[key] = world, group
    return group


def ranks_of_world() -> Ranks | None:
    """All ranks; None if there is but this one."""
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return None
    return Ranks(_world())


def _world() -> ProcessGroup:
    world = distributed.group.WORLD
    assert world is not None, "torch.distributed is initialised: there is a group"
    return world


def local_tensor(value: Any) -> Tensor:
    """This rank's part of a DTensor, without gradient; any other tensor as it is."""
    return value._local_tensor if is_dtensor(value) else value
