"""Sharded proxies and their optimiser, saved on four ranks by torch.distributed.checkpoint, loaded on fewer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import dmlkernels as dml
from tests.distributed.test_modules import CLASSES, DIM, whole_batch
from tests.distributed.world import Place, World

STEPS = 3


def new(seed: int, mesh: Any = None) -> tuple[Any, torch.optim.Optimizer]:
    generator = torch.Generator().manual_seed(seed)
    module = dml.ArcFaceLoss(CLASSES, DIM, dtype=torch.float64, generator=generator, device_mesh=mesh)
    return module, torch.optim.Adam(module.param_groups(0.01))


def step(module: Any, optimizer: torch.optim.Optimizer, part: slice, number: int) -> Tensor:
    embeddings, labels = (tensor[part] for tensor in whole_batch(3))
    optimizer.zero_grad()
    loss: Tensor = module(embeddings + 0.1 * number, labels)
    loss.backward()
    optimizer.step()
    return loss.detach()


def part_of(place: Place) -> slice:
    return slice(18 * place.rank // place.size, 18 * (place.rank + 1) // place.size)


def states(module: Any, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    from torch.distributed.checkpoint.state_dict import get_state_dict

    model, optim = get_state_dict(module, optimizer)
    return {"model": model, "optim": optim}


def save(place: Place, folder: str) -> tuple[Tensor, Tensor]:
    """Train and save. Returns the loss of the next step, and the proxies after it."""
    import torch.distributed.checkpoint as dcp

    module, optimizer = new(5, place.mesh)
    for number in range(STEPS):
        step(module, optimizer, part_of(place), number)
    dcp.save(states(module, optimizer), checkpoint_id=folder, process_group=place.group)
    loss = step(module, optimizer, part_of(place), STEPS)
    return loss, module.proxies.full_tensor().detach()


def load(place: Place, folder: str) -> tuple[Tensor, Tensor]:
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import set_state_dict

    module, optimizer = new(6, place.mesh)
    found = states(module, optimizer)
    dcp.load(found, checkpoint_id=folder, process_group=place.group)
    set_state_dict(module, optimizer, model_state_dict=found["model"], optim_state_dict=found["optim"])
    loss = step(module, optimizer, part_of(place), STEPS)
    return loss, module.proxies.full_tensor().detach()


def load_plain(place: Place, folder: str) -> tuple[Tensor, Tensor]:
    """Load into a module without a mesh, in one process."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import set_state_dict

    module, optimizer = new(7)
    found = states(module, optimizer)
    dcp.load(found, checkpoint_id=folder, process_group=place.group)
    set_state_dict(module, optimizer, model_state_dict=found["model"], optim_state_dict=found["optim"])
    loss = step(module, optimizer, slice(None), STEPS)
    return loss, module.proxies.detach()


def test_four_ranks_save_and_fewer_go_on(world: World, tmp_path: Path) -> None:
    saved = world.run(4, save, str(tmp_path))
    for size in (1, 2, 3, 4):
        for loss, proxies in world.run(size, load, str(tmp_path)):
            torch.testing.assert_close(loss, saved[0][0], rtol=1e-10, atol=1e-10)
            torch.testing.assert_close(proxies, saved[0][1], rtol=1e-9, atol=1e-10)
    (loss, proxies), *_ = world.run(1, load_plain, str(tmp_path))
    torch.testing.assert_close(loss, saved[0][0], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(proxies, saved[0][1], rtol=1e-9, atol=1e-10)


def save_plain(place: Place, folder: str) -> tuple[Tensor, Tensor]:
    import torch.distributed.checkpoint as dcp

    module, optimizer = new(8)
    for number in range(STEPS):
        step(module, optimizer, slice(None), number)
    dcp.save(states(module, optimizer), checkpoint_id=folder, process_group=place.group)
    loss = step(module, optimizer, slice(None), STEPS)
    return loss, module.proxies.detach()


@pytest.mark.parametrize("size", [2, 3])
def test_one_process_saves_and_ranks_go_on(world: World, tmp_path: Path, size: int) -> None:
    ((loss, proxies),) = world.run(1, save_plain, str(tmp_path))
    for found, others in world.run(size, load, str(tmp_path)):
        torch.testing.assert_close(found, loss, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(others, proxies, rtol=1e-9, atol=1e-10)
