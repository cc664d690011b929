"""Value and gradients of a loss, and how far two of them are apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from tests.losses import Loss
from tests.problem import Problem

_FLOOR = 1e-3  # gradients of unit rows smaller than this are compared as if they were this large


class Outcome(NamedTuple):
    """What a loss gave, and the gradients for a random upstream factor."""

    value: Tensor
    gradients: dict[str, Tensor]


def factor_like(value: Tensor, seed: int = 0) -> Tensor:
    """A random upstream gradient, the same for every dtype."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(value.shape, dtype=torch.float64, generator=generator) + 0.5).to(value.dtype)


def evaluate(call: Callable[[Problem], Tensor], loss: Loss, problem: Problem) -> Outcome:
    """``call`` is the loss, its truth, or something that should equal them."""
    value = call(problem)
    names = [name for name in loss.leaves if getattr(problem, name).requires_grad]
    leaves = [getattr(problem, name) for name in names]
    found = torch.autograd.grad(value, leaves, factor_like(value))
    return Outcome(value.detach(), dict(zip(names, found, strict=True)))


def ours(loss: Loss, problem: Problem, backend: str) -> Outcome:
    return evaluate(lambda p: loss(p, backend), loss, problem)


def truth(loss: Loss, problem: Problem) -> Outcome:
    """The reference in float64."""
    return evaluate(loss.truth, loss, problem.cast(torch.float64))


class Errors(NamedTuple):
    """Relative to the true value or 1, and to the largest true gradient of a unit row."""

    value: float
    gradients: dict[str, float]


def errors(found: Outcome, true: Outcome, problem: Problem) -> Errors:
    value = _largest(found.value.double() - true.value) / max(1.0, _largest(true.value))
    gradients = {}
    for name, gradient in true.gradients.items():
        # A row's gradient goes as 1 / norm; times the norm, rows of all scales weigh the same.
        leaf = getattr(problem, name).detach().double()
        norms = torch.linalg.vector_norm(leaf, dim=1, keepdim=True) if leaf.dim() else leaf
        difference = (found.gradients[name].double() - gradient) * norms
        gradients[name] = _largest(difference) / max(_FLOOR, _largest(gradient * norms))
    return Errors(value, gradients)


def assert_close(found: Outcome, true: Outcome, problem: Problem, tolerance: float) -> None:
    """Finite, of the right shapes and dtypes, and within the tolerance of the truth."""
    assert found.value.shape == true.value.shape
    assert found.gradients.keys() == true.gradients.keys()
    for name, gradient in found.gradients.items():
        leaf = getattr(problem, name)
        assert gradient.shape == leaf.shape and gradient.dtype == leaf.dtype
        assert gradient.isfinite().all(), f"gradient of {name}"
    value, gradients = errors(found, true, problem)
    assert value <= tolerance, f"value {found.value} instead of {true.value}"
    for name, error in gradients.items():
        assert error <= tolerance, f"gradient of {name}: error {error:.1e}"


def _largest(x: Tensor) -> float:
    return x.abs().max().item() if x.numel() else 0.0
