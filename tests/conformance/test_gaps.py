"""Labels, weights and options need not lie densely in memory: columns of a table, and one number for all."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.conformance.evaluate import ours
from tests.losses import EVERY, LOSSES, Loss
from tests.problem import VECTORS, Problem, make_problem


def as_column(x: Tensor) -> Tensor:
    """The same values as a column of a table, beside others that would do as well."""
    return torch.stack((x, x.flip(0)), -1)[..., 0]


def with_gaps(problem: Problem) -> Problem:
    given = {name: value for name, value in vars(problem).items() if value is not None and name not in VECTORS}
    return problem.map(as_column, *(name for name, value in given.items() if value.dim()))


def check_gaps(loss: Loss, backend: str) -> None:
    """Bit for bit the same."""
    for case in ("some_ignored", "unordered_proxies"):
        problem = make_problem(case, torch.float32)
        expected, found = ours(loss, problem, backend), ours(loss, with_gaps(problem), backend)
        assert torch.equal(found.value, expected.value)
        assert all(torch.equal(found.gradients[name], value) for name, value in expected.gradients.items())
    problem = replace(problem, weight=torch.tensor([0.25]).expand(len(problem.labels)))
    assert torch.equal(loss(problem, backend), loss(replace(problem, weight=problem.weight.clone()), backend))


@pytest.mark.parametrize("loss", EVERY, ids=str)
def test_gaps(loss: Loss, backend: str) -> None:
    check_gaps(loss, backend)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_negative_views(loss: Loss, backend: str) -> None:
    """Imaginary parts of conjugates, as autograd hands back beyond complex numbers: memory holds the opposite."""
    problem = make_problem("some_ignored", torch.float32)
    leaves = [getattr(problem, name) for name in loss.leaves]
    expected = torch.autograd.grad(loss(problem, backend), leaves)
    value = torch.complex(torch.zeros(()), loss(problem, backend)).conj()
    found = torch.autograd.grad(-value.imag, leaves)
    torch.testing.assert_close(found, expected)
    negative = problem.map(lambda x: torch._neg_view(-x), *loss.leaves)
    torch.testing.assert_close(loss(negative, backend), loss(problem, backend))
