"""Losses compute where their tensors are, whatever torch's default device is: memory made there has other addresses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.losses import EVERY, Loss
from tests.problem import Problem, make_problem


def outcome(loss: Loss, problem: Problem, backend: str) -> list[Tensor]:
    value = loss(problem, backend)
    return [
        value,
        *torch.autograd.grad(value, [getattr(problem, name) for name in loss.leaves], torch.ones_like(value)),
    ]


@pytest.mark.parametrize("loss", EVERY, ids=str)
def test_default_device(loss: Loss, backend: str) -> None:
    for case in ("some_ignored", "unordered_proxies"):
        problem = make_problem(case, torch.float32)
        expected = outcome(loss, problem, backend)
        with torch.device("meta"):
            found = outcome(loss, problem, backend)
        assert all(map(torch.equal, found, expected))
