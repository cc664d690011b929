"""Process groups of the hosts, and the memory that a step needs for a shard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed
from torch.distributed.device_mesh import DeviceMesh
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import dmlkernels as dml
from dmlkernels.distributed.group import host_group, ranks_of_mesh
from tests.distributed.world import Place, World


def tell(place: Place) -> tuple[bool, list[int]]:
    """Exchange numbers between hosts whose group has collectives for GPUs only."""
    group = distributed.new_group(list(range(place.size)), backend="cuda:gloo")
    hosts = host_group(group)
    told = torch.tensor([place.rank])
    distributed.all_reduce(told, group=hosts)
    same = host_group(group) is hosts and host_group(place.group) is place.group
    return same, [int(told), *distributed.get_process_group_ranks(hosts)]


def test_a_group_without_collectives_for_hosts_gets_one(world: World) -> None:
    assert world.run(4, tell) == [(True, [6, 0, 1, 2, 3])] * 4


def tell_some(place: Place) -> str:
    halves = [distributed.new_group(members, backend="cuda:gloo") for members in ([0, 1], [2, 3])]
    with pytest.raises(RuntimeError) as caught:
        host_group(halves[place.rank // 2])
    return str(caught.value)


def span_some(place: Place) -> str:
    """Make a 2-D mesh that leaves out ranks, which belong to different numbers of groups."""
    if place.rank == 0:
        distributed.new_group([0], use_local_synchronization=True)
    mesh: Any = DeviceMesh("cpu", [[0], [1]])
    if place.rank > 1:
        return ""
    with pytest.raises(RuntimeError) as caught:
        ranks_of_mesh(mesh)
    return str(caught.value)


def test_groups_that_would_wait_for_ever_are_refused(tmp_path: Path) -> None:
    world = World(tmp_path)  # ranks end in different numbers of groups
    try:
        assert all("'cpu:gloo,cuda:nccl'" in text for text in world.run(4, tell_some))
        assert all("different numbers" in text for text in world.run(4, span_some)[:2])
    finally:
        world.stop()


class Large(TorchDispatchMode):
    """Count tensors of at least so many values, each storage once."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.numbers = numbers
        self.found: set[int] = set()
        self._kept: list[Tensor] = []  # so that no address is used twice

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        results = function(*args, **(kwargs or {}))
        for result in tree_leaves(results):
            if isinstance(result, Tensor) and type(result) is Tensor and result.numel() >= self.numbers:
                self.found.add(result.data_ptr())
                self._kept.append(result)
        return results


def step(place: Place, table: bool) -> int:
    module = dml.CosFaceLoss(2000, 16, device_mesh=place.table if table else place.mesh, backend="native")
    local = module.proxies.to_local()
    embeddings = torch.randn(8, 16, requires_grad=True)
    with Large(local.numel()) as large:
        module(embeddings, torch.arange(8)).backward()
    return len(large.found - {local.data_ptr()})


@pytest.mark.parametrize(("size", "table"), [(2, False), (3, False), (4, True)])
def test_a_step_makes_one_tensor_of_the_size_of_a_shard(world: World, size: int, table: bool) -> None:
    """That tensor is its gradient."""
    if not dml.available_backends()["native"]:
        pytest.skip("blocks of the torch backend are as large as such a shard")
    assert world.run(size, step, table) == [1] * size
