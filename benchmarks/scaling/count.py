"""Counts what each rank gives to collectives and messages in a step, with gloo processes on this machine."""

from __future__ import annotations

import tempfile
from copy import deepcopy
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, multiprocessing

import dmlkernels as dml
from benchmarks.harness.traffic import Call, Traffic
from benchmarks.scaling.traffic import Step

TIMEOUT = timedelta(seconds=60)


OPTIONS: dict[str, dict[str, Any]] = {
    "pd_loss": {},
    "normalized_softmax_loss": {},
    "proxy_nca_loss": {},
    "cosface_loss": {},
    "arcface_loss": {},
    "sub_center_arcface_loss": {"centers_per_class": 2},
    "adaface_loss": {},
    "magface_loss": {},
    "curricularface_loss": {"hardness": torch.tensor(0.1), "momentum": 0.99},
    "adacos": {},
    "circle_loss": {},
    "soft_triple_loss": {"centers_per_class": 2},
    "symmetric_kl_loss": {"temperature": 0.1},
    "odba_penalty": {},
    "proxy_anchor_loss": {},
    "decidability_loss": {},
    "potential_field_loss": {},
    "fused_objective": {"field_weight": 0.5},
}
ALONE = ("odba_penalty", "decidability_loss")  # have no proxies to shard


def arguments(name: str, step: Step, rank: int, mesh: Any) -> list[Tensor]:
    """This rank's part of a step."""
    generator = torch.Generator().manual_seed(0)
    rows, dim = step.rows // step.ranks, step.dim
    drawn = torch.randn(step.rows, dim, generator=generator)
    embeddings = drawn[rank * rows : (rank + 1) * rows].clone().requires_grad_()
    proxies = torch.randn(step.columns, dim, generator=generator).requires_grad_()
    labels = torch.arange(rank * rows, (rank + 1) * rows) % min(5, step.columns // 2)
    if name == "odba_penalty":
        return [embeddings, proxies.detach()[:4]]
    if name == "decidability_loss":
        return [embeddings, labels]
    if step.sharded:
        from torch.distributed.tensor import Replicate, Shard, distribute_tensor

        placements = [Shard(0)] if step.replicas == 1 else [Replicate(), Shard(0)]
        proxies = distribute_tensor(proxies.detach(), mesh, placements).requires_grad_()
    if name == "symmetric_kl_loss":
        return [embeddings, (embeddings.detach() + 1).requires_grad_(), proxies]
    return [embeddings, labels, proxies]


def adacos(embeddings: Tensor, labels: Tensor, proxies: Tensor, *, process_group: Any) -> Tensor:
    """What ``AdaCosLoss`` calls in training."""
    scale = dml.adacos_scale(embeddings, labels, proxies, torch.tensor(9.0), process_group=process_group)
    return dml.normalized_softmax_loss(embeddings, labels, proxies, scale=scale, process_group=process_group)


def count(name: str, step: Step, rank: int, group: Any, mesh: Any) -> list[Call]:
    """The calls of one step of a loss, forward and backward, on this rank."""
    given = arguments(name, step, rank, mesh)
    loss: Any = adacos if name == "adacos" else getattr(dml, name)
    with Traffic() as traffic:
        found = loss(*given, **deepcopy(OPTIONS[name]), process_group=group)  # the hardness is updated in place
        (found[0] if isinstance(found, tuple) else found).backward()
    return traffic.calls


def count_all(steps: list[Step]) -> dict[tuple[str, Step], list[Call]]:
    """Count the calls of every loss in each of these steps, all of the same number of ranks, on the first rank."""
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(_serve, (steps, folder), nprocs=steps[0].ranks)
        found: dict[tuple[str, Step], list[Call]] = torch.load(f"{folder}/calls.pt", weights_only=False)
    return found


def _serve(rank: int, steps: list[Step], folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=steps[0].ranks, timeout=TIMEOUT
    )
    meshes = {
        step.replicas: distributed.device_mesh.init_device_mesh(
            "cpu", (step.ranks,) if step.replicas == 1 else (step.replicas, step.line)
        )
        for step in steps
    }
    found = {
        (name, step): count(name, step, rank, distributed.group.WORLD, meshes[step.replicas])
        for name in OPTIONS
        for step in steps
        if not (step.sharded and name in ALONE)
    }
    if rank == 0:
        torch.save(found, f"{folder}/calls.pt")
    distributed.destroy_process_group()
