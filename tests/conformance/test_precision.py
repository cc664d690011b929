"""Three-way errors: against the float64 truth of the same rounded inputs the package errs no more than dense torch in
the same dtype does, plus what is stated here.

Errors of gradients are relative to the largest one (see ``errors``), errors of values to the value or 1.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tests.cases import CASES, Case
from tests.closed_form import choose_closed_form
from tests.conformance.evaluate import assert_close, errors, evaluate, ours, truth
from tests.losses import ARCFACE, COSFACE, DECIDABILITY, FIELD, FUSED, LOSSES, NCA, PD, SOFTMAX, WAYS, Loss
from tests.problem import make_problem

HALVES = (torch.float16, torch.bfloat16)
SLACK_OF_VALUE = 1e-5
SLACK_OF_GRADIENT = 2e-5
SLACK_OF_FIELD = 1e-4  # its force goes as d^-4 with d^2 = 2 - 2s: rounding s moves that by some 600 times as much
# One rounding of the result, and for SoftTriple's centres, whose gradient is a sum of two, another.
SLACK_OF_HALF = 0.8


def is_determined(loss: Loss, case: Case) -> bool:
    """Not so: gap and variance of samples in one place, rounding errors over sqrt(eps); the slope of an angle at a
    cosine near 1, which magnifies rounding by its sine's inverse square."""
    lucky = (loss is DECIDABILITY and case.name == "expanded") or (loss.angular and case.name == "converged_collapsed")
    return loss.applies(case) and not lucky


_PAIRS = [(loss, case) for loss in LOSSES for case in CASES if is_determined(loss, case) and case.name != "large"]
_HALF_PAIRS = [(loss, case) for loss, case in _PAIRS if case.fits_half and loss in WAYS]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("loss", "case"), _PAIRS, ids=str)
def test_float32(loss: Loss, case: Case, backend: str) -> None:
    problem = make_problem(case, torch.float32)
    true = truth(loss, problem)
    found = errors(ours(loss, problem, backend), true, problem)
    dense = errors(evaluate(loss.truth, loss, problem), true, problem)
    assert found.value <= dense.value + SLACK_OF_VALUE
    slack = SLACK_OF_FIELD if loss in (FIELD, FUSED) else SLACK_OF_GRADIENT
    for name in true.gradients:
        assert found.gradients[name] <= dense.gradients[name] + slack, name


@pytest.mark.sampled(3)
@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize(("loss", "case"), _HALF_PAIRS, ids=str)
def test_half(loss: Loss, case: Case, dtype: torch.dtype, backend: str) -> None:
    """Values as good as float32's, gradients as good as their dtype can say."""
    problem = make_problem(case, dtype)
    true = truth(loss, problem)
    found = errors(ours(loss, problem, backend), true, problem)
    assert found.value <= SLACK_OF_VALUE
    for name, error in found.gradients.items():
        assert error <= SLACK_OF_HALF * torch.finfo(dtype).eps, name


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_half_is_better_than_dense_half(loss: Loss, dtype: torch.dtype, backend: str) -> None:
    problem = make_problem("tiles_33_65_17", dtype)
    true = truth(loss, problem)
    found = errors(ours(loss, problem, backend), true, problem)
    dense = errors(evaluate(loss.truth, loss, problem), true, problem)
    assert found.value < dense.value
    assert all(found.gradients[name] < dense.gradients[name] for name in true.gradients)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_half_embeddings_beside_float32_proxies(loss: Loss, backend: str) -> None:
    """Proxies lose nothing: their gradient is float32 and as exact."""
    problem = make_problem("plain", torch.float32).cast(torch.bfloat16, "embeddings", "intervened")
    true = truth(loss, problem)
    outcome = ours(loss, problem, backend)
    found = errors(outcome, true, problem)
    for name, error in found.gradients.items():
        if name in ("proxies", "centers"):
            assert outcome.gradients[name].dtype == torch.float32
            assert error <= SLACK_OF_GRADIENT


@pytest.mark.parametrize("closed_form", [True, False])
@pytest.mark.parametrize("common", [0.0, 4.4], ids=["spread", "collapsed"])
def test_many_columns(common: float, closed_form: bool, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variances of 64 x 30,000 scores, also where all cosines are near 0.95 and E[s^2] - E[s]^2 would cancel."""
    choose_closed_form(monkeypatch, closed_form)
    generator = torch.Generator().manual_seed(0)
    x, p = (torch.randn(rows, 16, generator=generator) / 4 for rows in (64, 30_000))
    shared = common / 4 * torch.randn(16, generator=generator)
    labels = torch.randint(0, 30_000, (64,), generator=generator)
    problem = replace(
        make_problem("plain", torch.float32), labels=labels, proxies=(p + shared).requires_grad_(),
        embeddings=(x + p[labels] + shared).requires_grad_(),
    )  # fmt: skip
    loss = PD.branch("precise", eps=0.0)
    assert_close(ours(loss, problem, backend), truth(loss, problem), problem, SLACK_OF_GRADIENT)


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES], ids=str)
@pytest.mark.parametrize(
    ("loss", "value", "pull"),
    [
        (SOFTMAX.branch("64", scale=64.0), 64.0, 64.0),
        (NCA.branch("64", scale=64.0), 64.0, 64.0),
        (NCA.branch("original_64", scale=64.0, include_positive=False), 64.0, 64.0),
        (COSFACE.branch("zero", margin=0.0), 64.0, 64.0),
        (COSFACE, 64 + 64 * 0.35, 64.0),
        (ARCFACE, 64 + 64 * math.sin(0.5), 64 * math.cos(0.5)),
    ],
    ids=str,
)
def test_the_worst_sample_keeps_its_loss_and_its_gradient(
    loss: Loss, value: float, pull: float, dtype: torch.dtype, backend: str
) -> None:
    """Its own probability is exp(-64): zero beside 1 in float32, and beneath float16 altogether."""
    axes = torch.eye(4, dtype=dtype)
    problem = replace(
        make_problem("plain", dtype), embeddings=axes[:1].clone().requires_grad_(), labels=torch.tensor([1]),
        proxies=axes.clone().requires_grad_(),
    )  # fmt: skip
    found = loss(problem, backend)
    torch.testing.assert_close(found, torch.tensor(value), rtol=1e-6, atol=0)
    of_x, of_p = torch.autograd.grad(found, (problem.embeddings, problem.proxies))
    expected = torch.tensor([0.0, -pull, 0.0, 0.0], dtype=dtype)
    torch.testing.assert_close(of_x[0], expected, rtol=torch.finfo(dtype).eps, atol=1e-5)
    torch.testing.assert_close(of_p[1], expected.roll(-1), rtol=torch.finfo(dtype).eps, atol=1e-5)
