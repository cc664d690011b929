"""Mixed precision: half embeddings beside float32 proxies, under autocast and outside of it."""

from __future__ import annotations

import pytest
import torch

from tests.conformance.evaluate import Outcome, errors, evaluate, ours, truth
from tests.losses import (
    ANCHOR,
    ARCFACE,
    COSFACE,
    FIELD,
    FUSED,
    KL,
    LOSSES,
    NCA,
    ODBA,
    PD,
    SOFT_TRIPLE,
    SOFTMAX,
    SUB_CENTER,
    Loss,
)
from tests.problem import Problem, make_problem

HALVES = (torch.bfloat16, torch.float16)
TO_COLUMNS = (PD, ODBA, KL, ANCHOR, SOFTMAX, NCA, COSFACE, ARCFACE, SOFT_TRIPLE)
OTHERS = ("proxies", "centers", "atoms")
CASES = ("tiles_33_65_17", "clustered", "some_ignored")
half_types = pytest.mark.parametrize("half", HALVES, ids=str)


def mixed(case: str, half: torch.dtype) -> Problem:
    return make_problem(case, torch.float32).cast(half, "embeddings", "intervened")


def under_autocast(loss: Loss, problem: Problem, half: torch.dtype, backend: str) -> Outcome:
    with torch.autocast("cpu", half):
        return ours(loss, problem, backend)


@half_types
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_no_worse_than_dense_autocast(loss: Loss, case: str, half: torch.dtype, backend: str) -> None:
    """Three-way: both against float64 of the same inputs."""
    problem = mixed(case, half)
    true, found = truth(loss, problem), under_autocast(loss, problem, half, backend)
    with torch.autocast("cpu", half):
        dense = errors(evaluate(loss.truth, loss, problem), true, problem)
    error = errors(found, true, problem)
    eps = torch.finfo(half).eps
    assert error.value <= dense.value + eps / 4
    for name, gradient in found.gradients.items():
        assert gradient.dtype == getattr(problem, name).dtype
        if loss is SUB_CENTER:  # another centre may be the nearest once they are rounded
            continue
        assert error.gradients[name] <= dense.gradients[name] + eps, name


@half_types
@pytest.mark.parametrize("loss", TO_COLUMNS, ids=str)
def test_products_are_of_halves(loss: Loss, half: torch.dtype, backend: str) -> None:
    """Under autocast proxies count as if they had been rounded, whatever the backend; their gradient stays float32."""
    problem = mixed("tiles_33_65_17", half)
    found = under_autocast(loss, problem, half, backend)
    rounded = ours(loss, problem.map(lambda x: x.to(half).float(), *OTHERS), backend)
    torch.testing.assert_close(found.value, rounded.value, rtol=1e-5, atol=1e-5)
    assert not torch.equal(found.value, ours(loss, problem, backend).value)


@half_types
@pytest.mark.parametrize("loss", [FIELD, FUSED], ids=str)
def test_distances_stay_float32(loss: Loss, half: torch.dtype, backend: str) -> None:
    problem = mixed("clustered", half)
    found, expected = under_autocast(loss, problem, half, backend), ours(loss, problem, backend)
    assert torch.equal(found.value, expected.value)
    assert all(torch.equal(found.gradients[name], gradient) for name, gradient in expected.gradients.items())


@pytest.mark.parametrize("loss", TO_COLUMNS, ids=str)
def test_nothing_is_rounded_where_nothing_is_half(loss: Loss, backend: str) -> None:
    """Float32 and float64 under autocast, and halves outside of it."""
    problem = make_problem("plain", torch.float32)
    for given in (problem, problem.cast(torch.float64)):
        expected = ours(loss, given, backend)
        assert torch.equal(under_autocast(loss, given, torch.bfloat16, backend).value, expected.value)
    beside = mixed("plain", torch.bfloat16)
    assert errors(ours(loss, beside, backend), truth(loss, beside), beside).value <= 1e-5


@half_types
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_halves_of_another_type_than_that_of_autocast(loss: Loss, half: torch.dtype, backend: str) -> None:
    """PyTorch's own cat refuses them on a CPU."""
    (other,) = {*HALVES} - {half}
    problem = mixed("some_ignored", half)
    expected, found = under_autocast(loss, problem, half, backend), under_autocast(loss, problem, other, backend)
    assert torch.equal(found.value, expected.value)
    assert all(torch.equal(found.gradients[name], value) for name, value in expected.gradients.items())
