"""Which processes a call of a loss spans: those of a process group, or of the mesh of sharded proxies."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
    world = _world()
    if members == distributed.get_process_group_ranks(world):
        return world
    return _cached(("mesh", *members), members, None)


def host_group(group: ProcessGroup) -> ProcessGroup:
    """A group of the same ranks whose collectives take CPU tensors, so that nobody waits for a GPU."""
    if "cpu:" in distributed.get_backend_config(group):
        return group
    members = distributed.get_process_group_ranks(group)
    return _cached(("host", *members), members, "gloo")


_groups: dict[Hashable, tuple[ProcessGroup, ProcessGroup]] = {}


def _cached(key: Hashable, members: list[int], backend: str | None) -> ProcessGroup:
    """A new group of these ranks, made once in the life of the default group."""
    world = _world()
    made_in, group = _groups.get(key, (None, world))
    if made_in is not world:
        group = distributed.new_group(members, backend=backend, use_local_synchronization=True)
        _groups[key] = world, group
    return group


def _world() -> ProcessGroup:
    world = distributed.group.WORLD
    assert world is not None, "torch.distributed is initialised: there is a group"
    return world


def local_tensor(value: Any) -> Tensor:
    """This rank's part of a DTensor, without gradient; any other tensor as it is."""
    return value._local_tensor if is_dtensor(value) else value
