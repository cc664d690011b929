"""Class sampling across ranks: one draw for ranks with the same proxies, a fraction of each shard."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import dmlkernels as dml
from tests.distributed.evaluate import placed
from tests.distributed.world import Place, World

CLASSES, DIM, BATCH = 240, 5, 4


def samples(rank: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rank)
    embeddings = torch.randn(BATCH, DIM, dtype=torch.float64, generator=generator)
    return embeddings.requires_grad_(), torch.randint(0, CLASSES, (BATCH,), generator=generator)


def all_proxies() -> Tensor:
    generator = torch.Generator().manual_seed(50)
    return torch.randn(CLASSES, DIM, dtype=torch.float64, generator=generator).requires_grad_()


def weights() -> Tensor:
    return torch.rand(CLASSES, dtype=torch.float64, generator=torch.Generator().manual_seed(51)) + 0.5


def evaluate(place: Place, layout: str, smoothing: float) -> tuple[Tensor, Tensor, Tensor]:
    embeddings, labels = samples(place.rank)
    proxies: Any = placed(all_proxies(), place, layout)
    loss = dml.cosface_loss(
        embeddings, labels, proxies, process_group=place.group, sample_classes=0.25,
        sample_generator=torch.Generator().manual_seed(7 * place.rank), label_smoothing=smoothing,
        class_weights=weights() if smoothing else None,
    )  # fmt: skip
    loss.backward()
    gradient = proxies.grad if layout == "replicated" else proxies.grad.full_tensor()
    return loss.detach(), embeddings.grad / place.size, gradient


@pytest.mark.parametrize(("size", "layout"), [(3, "replicated"), (2, "sharded"), (3, "sharded"), (4, "table")])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_it_is_the_loss_of_the_classes_drawn(world: World, size: int, layout: str, smoothing: float) -> None:
    found = world.run(size, evaluate, layout, smoothing)
    gradient = torch.stack([columns for _, _, columns in found]).mean(0)
    chosen = gradient.any(1).nonzero()[:, 0]
    assert len(chosen) == CLASSES // 4
    parts = [samples(rank) for rank in range(size)]
    embeddings = torch.cat([x for x, _ in parts]).detach().requires_grad_()
    labels = torch.cat([y for _, y in parts])
    assert torch.isin(labels, chosen).all()
    part = all_proxies().detach()[chosen].requires_grad_()
    truth = dml.cosface_loss(
        embeddings, torch.searchsorted(chosen, labels), part, label_smoothing=smoothing,
        class_weights=weights()[chosen] if smoothing else None,
    )  # fmt: skip
    truth.backward()
    torch.testing.assert_close(gradient[chosen], part.grad, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(torch.cat([rows for _, rows, _ in found]), embeddings.grad, rtol=1e-9, atol=1e-11)
    for loss, _, _ in found:
        assert torch.equal(loss, found[0][0])
        torch.testing.assert_close(loss, truth.detach(), rtol=1e-10, atol=1e-10)
