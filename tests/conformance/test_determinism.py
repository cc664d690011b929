"""Bit for bit the same on the same device and inputs, whatever ran before or beside."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from dmlkernels.backends.triton.availability import interpreted
from tests.conformance.evaluate import Outcome, ours
from tests.conformance.large import large_problem
from tests.losses import LOSSES, PD, Loss
from tests.problem import Problem, make_problem

every_loss = pytest.mark.parametrize("loss", LOSSES, ids=str)


@pytest.fixture(autouse=True)
def several_threads() -> Iterator[None]:
    """What is added up by two threads at once shows only with two."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def equal(first: Outcome, second: Outcome) -> bool:
    pairs = zip((first.value, *first.gradients.values()), (second.value, *second.gradients.values()), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def sizable() -> Problem:
    """Large enough for torch to use its threads, with many samples of the same few classes."""
    return large_problem(1024, 200, 36, torch.float32)


@pytest.mark.sampled(2)
@every_loss
def test_repeatable(loss: Loss, backend: str) -> None:
    problem = sizable()
    first = ours(loss, problem, backend)
    torch.randn(300, 300) @ torch.randn(300, 300)
    ours(PD, make_problem("plain"), backend)
    for _ in range(2):
        assert equal(ours(loss, problem, backend), first)


@pytest.mark.sampled(2)
@every_loss
def test_the_same_from_several_python_threads(loss: Loss, backend: str) -> None:
    if backend == "triton" and interpreted():
        pytest.skip("the interpreter runs one program at a time")
    problem = sizable()
    first = ours(loss, problem, backend)
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda _: ours(loss, problem, backend), range(3)))
    assert all(equal(outcome, first) for outcome in outcomes)


@every_loss
def test_the_same_at_another_address(loss: Loss, backend: str) -> None:
    problem = sizable()
    first = ours(loss, problem, backend)
    assert equal(ours(loss, problem.map(torch.clone, *loss.leaves), backend), first)


@every_loss
def test_nothing_depends_on_what_memory_held(loss: Loss, backend: str) -> None:
    """torch then fills every new tensor with NaN, so a number that nobody wrote would show."""
    problem = make_problem("some_ignored", torch.float32)
    first = ours(loss, problem, backend)
    torch.use_deterministic_algorithms(True)
    try:
        assert equal(ours(loss, problem, backend), first)
    finally:
        torch.use_deterministic_algorithms(False)
