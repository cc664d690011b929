"""Gradients with a graph are those without, on all ranks, and whoever differentiates them is told as on one process."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.distributed.evaluate import BY_NAME, part_of
from tests.distributed.world import Place, World
from tests.losses import LOSSES, Loss
from tests.problem import VECTORS, make_problem


def local(tensor: Any) -> Tensor:
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def gradients(place: Place, loss: Loss, parts: str, layout: str, create_graph: bool) -> list[Tensor]:
    problem = part_of(make_problem("plain"), place, parts, layout)
    leaves = [getattr(problem, name) for name in loss.leaves if name in VECTORS]
    value = loss(problem, process_group=place.group)
    return [local(found) for found in torch.autograd.grad(value, leaves, create_graph=create_graph)]


def differentiate(place: Place, names: list[str], parts: str, layout: str) -> list[str]:
    """Names of the losses whose gradients with a graph are others, or may be differentiated."""
    wrong = []
    for name in names:
        expected = gradients(place, BY_NAME[name], parts, layout, create_graph=False)
        found = gradients(place, BY_NAME[name], parts, layout, create_graph=True)
        if not all(torch.equal(one, other) for one, other in zip(found, expected, strict=True)):
            wrong.append(f"{name}: other gradients")
        for gradient in found:
            try:
                gradient.square().sum().backward(retain_graph=True)
            except RuntimeError as error:
                if "first derivatives only" not in str(error):
                    wrong.append(f"{name}: {error}")
            else:
                wrong.append(f"{name}: no error")
    return wrong


@pytest.mark.parametrize(
    ("size", "parts", "layout"),
    [(3, "empty", "replicated"), (2, "uneven", "sharded"), (3, "empty", "sharded"), (4, "uneven", "table")],
)
def test_no_second_derivatives(world: World, size: int, parts: str, layout: str) -> None:
    sharded = layout != "replicated"
    names = [loss.name for loss in LOSSES if not (sharded and "centers" in loss.inputs)]
    assert world.run(size, differentiate, names, parts, layout) == [[]] * size
