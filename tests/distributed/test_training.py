"""Fifty steps on several ranks end with the weights of one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

import dmlkernels as dml
from tests.distributed.evaluate import part_sizes
from tests.distributed.world import Place, World

STEPS, BATCH, CLASSES, DIM = 50, 15, 7, 6


@dataclass(frozen=True)
class Setup:
    """One way of training; ``backbone`` is "ddp" or "fsdp"."""

    name: str
    kind: Callable[..., Any] = dml.PDLoss
    backbone: str = "ddp"
    sharded: bool = False
    parts: str = "uneven"
    micro_batches: int = 1
    clips: bool = False
    scales: bool = False
    checkpoints: bool = False
    bfloat16: bool = False
    adam: bool = False
    steps: int = STEPS


SETUPS = [
    Setup("replicated"),
    Setup("replicated_arcface", dml.ArcFaceLoss, parts="empty", adam=True, checkpoints=True),
    Setup("replicated_anchor_accumulated", dml.ProxyAnchorLoss, micro_batches=3, clips=True, scales=True),
    Setup("sharded", sharded=True, adam=True),
    Setup("sharded_cosface", dml.CosFaceLoss, sharded=True, parts="empty", clips=True, micro_batches=2),
    Setup("sharded_scaled", dml.NormalizedSoftmaxLoss, sharded=True, scales=True),
    Setup("fsdp", backbone="fsdp", sharded=True, adam=True, clips=True),
    Setup("fsdp_accumulated", dml.ProxyNCALoss, backbone="fsdp", sharded=True, micro_batches=2, checkpoints=True),
    Setup("bfloat16", dml.NormalizedSoftmaxLoss, sharded=True, bfloat16=True),
    Setup("bfloat16_replicated", dml.CosFaceLoss, bfloat16=True, clips=True),
    Setup("bfloat16_fsdp", dml.ArcFaceLoss, backbone="fsdp", sharded=True, bfloat16=True, adam=True),
]
BY_NAME = {setup.name: setup for setup in SETUPS}


class Net(nn.Module):
    """A backbone, with activation checkpointing if wanted."""

    def __init__(self, checkpoints: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(9, 12), nn.Tanh(), nn.Linear(12, DIM))
        self.checkpoints = checkpoints

    def forward(self, inputs: Tensor) -> Tensor:
        return checkpoint(self.layers, inputs, use_reentrant=False) if self.checkpoints else self.layers(inputs)


class Both(nn.Module):
    """Backbone and loss in one module, for DDP."""

    def __init__(self, net: nn.Module, loss: nn.Module) -> None:
        super().__init__()
        self.net, self.loss = net, loss

    def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
        return self.loss(self.net(inputs), labels)


def batch_of(step: int, micro: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1000 * micro + step)
    labels = torch.randint(0, CLASSES, (BATCH,), generator=generator)
    noise = torch.randn(BATCH, 9, dtype=torch.float64, generator=generator)
    return noise + nn.functional.one_hot(labels, 9) * 2, labels


def build(setup: Setup) -> tuple[Net, Any]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dtype = torch.float32 if setup.bfloat16 else torch.float64
        return Net(setup.checkpoints).to(dtype), setup.kind(CLASSES, DIM).to(dtype)


def train(
    setup: Setup, both: nn.Module, groups: list[list[nn.Parameter]], mine: Callable[[int], slice], delay: Any = None
) -> Iterator[Tensor]:
    """Train, and return the loss of each step; ``delay()`` is a context in which gradients are not yet averaged."""
    optimisers = [(torch.optim.Adam if setup.adam else torch.optim.SGD)(group, lr=0.02) for group in groups]
    scaler = torch.amp.GradScaler("cpu", enabled=setup.scales, init_scale=64.0)
    for step in range(setup.steps):
        for micro in range(setup.micro_batches):
            inputs, labels = batch_of(step, micro)
            inputs, labels = inputs[mine(BATCH)], labels[mine(BATCH)]
            last = micro == setup.micro_batches - 1
            with delay(last) if delay is not None else nullcontext():
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=setup.bfloat16):
                    loss = both(inputs.float() if setup.bfloat16 else inputs, labels) / setup.micro_batches
                scaler.scale(loss).backward()
        for optimiser, group in zip(optimisers, groups, strict=True):
            scaler.unscale_(optimiser)
            if setup.clips:
                nn.utils.clip_grad_norm_(group, 0.05)
            scaler.step(optimiser)
            optimiser.zero_grad()
        scaler.update()
        yield loss.detach()


def outcome(losses: Iterator[Tensor], net: nn.Module, loss: Any) -> tuple[Tensor, list[Tensor]]:
    values = torch.stack(list(losses))
    weights: list[Any] = [*net.parameters(), loss.proxies]
    return values, [weight.full_tensor() if hasattr(weight, "full_tensor") else weight for weight in weights]


def train_alone(setup: Setup) -> tuple[Tensor, list[Tensor]]:
    net, loss = build(setup)
    losses = train(setup, Both(net, loss), [list(net.parameters()), [loss.proxies]], lambda number: slice(number))
    return outcome(losses, net, loss)


def train_together(place: Place, name: str) -> tuple[Tensor, list[Tensor]]:
    setup = BY_NAME[name]
    net, loss = build(setup)
    sizes = part_sizes(BATCH, place.size, setup.parts)
    start = sum(sizes[: place.rank])
    wrapped: Any
    both: nn.Module
    if setup.sharded:
        dml.shard_proxies(loss, place.mesh)
    else:
        loss.process_group = place.group
    if setup.backbone == "fsdp":
        from torch.distributed.fsdp import fully_shard

        wrapped = fully_shard(net, mesh=place.mesh)
        both = Both(wrapped, loss)
    elif setup.sharded:
        wrapped = DistributedDataParallel(net, process_group=place.group)
        both = Both(wrapped, loss)
    else:
        both = wrapped = DistributedDataParallel(Both(net, loss), process_group=place.group)

    def delay(last: bool) -> Any:
        if setup.backbone == "fsdp":
            wrapped.set_requires_gradient_sync(last)
            return nullcontext()
        return nullcontext() if last else wrapped.no_sync()

    groups = [list(net.parameters()), [loss.proxies]]
    losses = train(setup, both, groups, lambda number: slice(start, start + sizes[place.rank]), delay)
    values, weights = outcome(losses, net, loss)
    return values, [weight.detach() for weight in weights]


@pytest.mark.sampled(4)
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("setup", [setup for setup in SETUPS if not setup.bfloat16], ids=lambda setup: setup.name)
def test_training_ends_where_one_process_does(world: World, setup: Setup, size: int) -> None:
    values, weights = train_alone(setup)
    for found, others in world.run(size, train_together, setup.name):
        torch.testing.assert_close(found, values, rtol=1e-8, atol=1e-8)
        for weight, true in zip(others, weights, strict=True):
            torch.testing.assert_close(weight, true.detach(), rtol=1e-8, atol=1e-8)
    if not setup.clips:
        assert values[-5:].mean() < values[:5].mean()  # it learns


def joined(weights: list[Tensor]) -> Tensor:
    return torch.cat([weight.detach().flatten().double() for weight in weights])


@pytest.mark.sampled(2)
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("setup", [setup for setup in SETUPS if setup.bfloat16], ids=lambda setup: setup.name)
def test_ranks_round_no_worse_than_one_process(world: World, setup: Setup, size: int) -> None:
    """bfloat16 rounds each part of a batch differently, and steps grow apart: both are held to float64."""
    values, weights = train_alone(setup)
    true_values, true_weights = train_alone(replace(setup, bfloat16=False))
    off = (joined(weights) - joined(true_weights)).norm()
    for found, others in world.run(size, train_together, setup.name):
        assert (joined(others) - joined(true_weights)).norm() < 2 * off
        assert (found - true_values).abs().mean() < 2 * (values - true_values).abs().mean()
        torch.testing.assert_close(found[0], values[0], rtol=0.01, atol=0.01)
