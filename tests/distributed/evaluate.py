"""Evaluate losses of the table on several ranks, and join the results to those of one process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from tests.distributed.world import Place
from tests.losses import EVERY, Loss
from tests.problem import Problem, make_problem

BY_NAME = {loss.name: loss for loss in EVERY}
SAMPLES = ("embeddings", "intervened", "labels", "weight", "sample_margin", "sample_scale")
PROXIES = ("proxies", "centers")


@dataclass(frozen=True)
class Found:
    """Loss and gradients of one rank, or of one process."""

    loss: Tensor
    gradients: dict[str, Tensor]


def part_sizes(number: int, size: int, kind: str) -> list[int]:
    """Count the samples of each rank: "even", "uneven", or "empty" on the first rank and on the third."""
    shares = {"even": [1, 1, 1, 1], "uneven": [1, 4, 2, 3], "empty": [0, 2, 0, 1]}[kind][:size]
    bounds = [number * sum(shares[:i]) // max(sum(shares), 1) for i in range(size)] + [number]
    return [stop - start for start, stop in pairwise(bounds)]


def placed(tensor: Tensor | None, place: Place, layout: str) -> Any:
    """Distribute a tensor as a DTensor of this layout. A leaf that wants a gradient stays one."""
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    if tensor is None or layout == "replicated":
        return tensor
    mesh, placements = {
        "sharded": (place.mesh, [Shard(0)]),
        "table": (place.table, [Replicate(), Shard(0)]),
        "copies": (place.mesh, [Replicate()]),
    }[layout]
    return distribute_tensor(tensor.detach(), mesh, placements).requires_grad_(tensor.requires_grad)


def part_of(problem: Problem, place: Place, parts: str, layout: str) -> Problem:
    """Take this rank's part of a problem."""
    sizes = part_sizes(problem.labels.shape[0], place.size, parts)
    start = sum(sizes[: place.rank])
    mine = slice(start, start + sizes[place.rank])
    changed: dict[str, Any] = {name: getattr(problem, name)[mine] for name in SAMPLES}
    for name in set(SAMPLES) - {"labels"}:
        changed[name] = changed[name].detach().requires_grad_(getattr(problem, name).requires_grad)
    changed |= {name: placed(getattr(problem, name), place, layout) for name in PROXIES}
    if layout != "copies":
        changed["proxy_labels"] = placed(problem.proxy_labels, place, layout)
    return replace(problem, **changed)


def gradients_of(loss: Loss, problem: Problem, backend: str, **options: Any) -> Found:
    """Compute a loss, and the gradients of its sum."""
    value = loss(problem, backend, **options)
    value.sum().backward()
    gradients = {name: getattr(problem, name).grad for name in loss.leaves if getattr(problem, name).requires_grad}
    return Found(value.detach(), gradients)


def evaluate(place: Place, names: list[str], case: str, parts: str, layout: str, backend: str) -> list[Found]:
    """Compute each loss on this rank; gradients of sharded proxies are gathered."""
    answers = []
    for name in names:
        problem = part_of(make_problem(case), place, parts, layout)
        implied = layout == "copies" and any(leaf in BY_NAME[name].inputs for leaf in PROXIES)
        options = {} if implied else {"process_group": place.group}
        found = gradients_of(BY_NAME[name], problem, backend, **options)
        for leaf in PROXIES:
            gradient: Any = found.gradients.get(leaf)
            if gradient is not None and layout != "replicated":
                assert gradient.placements == getattr(problem, leaf).placements
                found.gradients[leaf] = gradient.full_tensor()
        answers.append(found)
    return answers


def evaluate_weights(place: Place, names: list[str], case: str, parts: str, layout: str) -> list[Found]:
    """Compute each loss on this rank, with the gradient of the sample weights alone."""
    answers = []
    for name in names:
        problem = make_problem(case)
        part = part_of(replace(problem, weight=problem.weight.requires_grad_()), place, parts, layout)
        value = BY_NAME[name](part, process_group=place.group)
        (gradient,) = torch.autograd.grad(value, part.weight)
        answers.append(Found(value.detach(), {"weight": gradient}))
    return answers


def joined(everyone: list[Found], leaf: str, layout: str, rows: bool) -> Tensor:
    """Join the gradients of all ranks to that of one process."""
    size = len(everyone)
    gradients = [found.gradients[leaf] for found in everyone]
    if leaf not in SAMPLES:
        if leaf in PROXIES and layout != "replicated":
            assert all(torch.equal(gradients[0], other) for other in gradients[1:])
        mean = sum(gradients[1:], gradients[0]) / size
        return mean * size if rows else mean  # rows: a mean over the ranks of their sums
    return torch.cat(gradients) / (1 if rows else size)
