"""NaN, infinities, zeros and huge or tiny rows; what an ignored row holds does not matter."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dmlkernels.backends import blocked
from tests.conformance.evaluate import assert_close, evaluate, ours, truth
from tests.losses import EVERY, FIELD, FIELD_ALONE, FUSED, LOSSES, Loss
from tests.problem import PARAMETERS, Problem, make_problem

every_branch = pytest.mark.parametrize("loss", EVERY, ids=str)
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=str)
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def with_row(x: Tensor, row: int, value: float) -> Tensor:
    changed = x.clone()
    changed[row] = value
    return changed


def with_rows(x: Tensor, rows: dict[int, Tensor]) -> Tensor:
    changed = x.clone()
    for i, row in rows.items():
        changed[i] = row
    return changed


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@every_branch
def test_a_spoilt_number_spoils_the_loss(loss: Loss, backend: str, bad: float, dtype: torch.dtype) -> None:
    def spoil(x: Tensor) -> Tensor:
        changed = x.clone()
        changed[1, 2] = bad
        return changed

    problem = make_problem("plain", dtype)
    for name in loss.inputs:
        if name != "labels" and (name != "atoms" or "active" not in loss.keywords.values()):
            value = loss(problem.map(spoil, name), backend)
            if loss.options.get("reduction") == "none" and name == "embeddings":
                assert value[1].isnan() and value.isnan().sum() == 1
            else:
                assert value.isnan().any(), name


@pytest.mark.parametrize("closed_form", [True, False])
@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss.quadratic], ids=str)
def test_a_spoilt_number_spoils_either_form(
    loss: Loss, backend: str, closed_form: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocked, "prefers_closed_form", lambda pairs: closed_form)
    problem = make_problem("plain", torch.float32)
    for bad in (torch.nan, torch.inf):
        assert loss(problem.map(lambda x, bad=bad: with_row(x, 3, bad), "embeddings"), backend).isnan()


@pytest.mark.parametrize("loss", [loss for loss in EVERY if "labels" in loss.inputs], ids=str)
def test_ignored_rows_may_hold_anything(loss: Loss, backend: str) -> None:
    problem = make_problem("some_ignored", torch.float32)
    expected = ours(loss, problem, backend)
    ignored = problem.labels == -100
    for bad in (torch.nan, torch.inf, 0.0):
        spoilt = problem.map(lambda x, bad=bad: torch.where(ignored[:, None], bad, x), "embeddings")
        spoilt = replace(spoilt, weight=torch.where(ignored, bad, problem.weight))
        found = ours(loss, spoilt, backend)
        torch.testing.assert_close(found.value, expected.value, rtol=1e-6, atol=1e-6)
        assert (found.gradients["embeddings"][ignored] == 0).all()
        for name in loss.leaves:
            torch.testing.assert_close(found.gradients[name], expected.gradients[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@every_branch
def test_zero_rows_are_finite_and_still(loss: Loss, backend: str, dtype: torch.dtype) -> None:
    vectors = [name for name in loss.inputs if name != "labels"]
    problem = make_problem("plain", dtype).map(lambda x: with_row(x, 2, 0.0), *vectors)
    value, gradients = ours(loss, problem, backend)
    assert value.isfinite().all()
    for name, gradient in gradients.items():
        assert gradient.isfinite().all()
        assert name in PARAMETERS or (gradient[2] == 0).all()


@pytest.mark.parametrize("exponent", [25, 18, -10])
@every_loss
def test_scale_is_no_matter(loss: Loss, backend: str, exponent: int) -> None:
    """Squares of 1e25 overflow float32, those of 1e-25 underflow."""
    problem = make_problem("plain", torch.float32)
    scaled = problem.map(lambda x: x * 10.0**exponent, *loss.leaves)
    expected, found = ours(loss, problem, backend), ours(loss, scaled, backend)
    torch.testing.assert_close(found.value, expected.value, rtol=1e-5, atol=1e-5)
    if exponent < 20:  # else 1e-25 of a gradient is below what float32 can add up
        rescaled = {name: gradient * 10.0**exponent for name, gradient in found.gradients.items()}
        assert_close(found._replace(gradients=rescaled), expected, problem, 1e-4)


@pytest.mark.parametrize(("dtype", "top"), [(torch.float32, 1e37), (torch.float64, 1e300)], ids=str)
@every_loss
def test_the_largest_rows(loss: Loss, backend: str, dtype: torch.dtype, top: float) -> None:
    """Squares of 1e300 overflow float64, too. Gradients of such rows are below what the dtype can hold."""
    problem = make_problem("plain", dtype)
    huge = problem.map(lambda x: x * top, *loss.leaves, "atoms")
    torch.testing.assert_close(loss(huge, backend), loss(problem, backend), rtol=1e-5, atol=1e-5)
    one = problem.map(lambda x: with_row(x, 2, 0.0) + top * with_row(torch.zeros_like(x), 2, 1.0), "embeddings")
    plain = problem.map(lambda x: with_row(x, 2, 1.0), "embeddings")
    found, expected = ours(loss, one, backend), ours(loss, plain, backend)
    torch.testing.assert_close(found.value, expected.value, rtol=1e-5, atol=1e-5)
    for name in loss.leaves:
        torch.testing.assert_close(found.gradients[name][3:], expected.gradients[name][3:], rtol=1e-4, atol=1e-5)


@every_loss
def test_rows_below_the_floor_of_norms_are_constants(loss: Loss, backend: str) -> None:
    """max(norm, 1e-12): a row this short is not turned into a direction, and no gradient of 1e12 comes out of it."""
    problem = make_problem("plain", torch.float64).map(lambda x: with_row(x, 2, 1e-14), *loss.leaves)
    expected = evaluate(loss.truth, loss, problem)
    found = ours(loss, problem, backend)
    assert_close(found, expected, problem, loss.tolerance)
    assert all((gradient[2] == 0).all() for gradient in found.gradients.values())


def test_largest_half_numbers(backend: str) -> None:
    """Norms of float16 rows pass its largest number."""
    for loss in LOSSES:
        problem: Problem = make_problem("plain", torch.float32)
        top = problem.map(lambda x: 60_000 * x / x.abs().amax(1, keepdim=True), *loss.leaves)
        half = top.cast(torch.float16, *loss.leaves)
        torch.testing.assert_close(loss(half, backend), loss.truth(half.cast(torch.float64)).float())


@pytest.mark.parametrize("alpha", [0.5, 6.0, 20.0, 56.0, 100.0, 1000.0])
@pytest.mark.parametrize("loss", [FIELD, FIELD_ALONE, FUSED], ids=str)
def test_steep_decay(loss: Loss, backend: str, alpha: float) -> None:
    """delta^alpha and d^-alpha leave float32's range long before (d / delta)^-alpha does."""
    steep = loss.branch("steep", alpha=alpha, d_min=0.01)
    problem = make_problem("untrained", torch.float32)  # no pair of classes is near
    assert_close(ours(steep, problem, backend), truth(steep, problem), problem, 1e-4)


@pytest.mark.parametrize("delta", [0.01, 0.2])
def test_steep_decay_of_a_close_pair(backend: str, delta: float) -> None:
    steep = FIELD.branch("steep", alpha=19.0, delta_att=delta, delta_rep=delta)

    def bring_together(x: Tensor) -> Tensor:  # of different classes, 0.02 apart
        return with_rows(x, {1: x[0] + 0.02 * x[0].norm() * torch.eye(16)[3]})

    problem = make_problem("untrained", torch.float32).map(bring_together, "embeddings")
    found, true = ours(steep, problem, backend), truth(steep, problem)
    assert all(gradient.isfinite().all() for gradient in found.gradients.values())
    torch.testing.assert_close(found.value.double(), true.value, rtol=1e-2, atol=0)  # 19 times the rounding of d


def test_energy_beyond_the_range_is_infinite(backend: str) -> None:
    """A copy of another class's sample: (0.2 / 0.01)^56 = 7e72."""
    problem = make_problem("duplicates", torch.float32)
    assert FIELD(problem, backend, alpha=56.0) == torch.inf
    assert FIELD(problem.cast(torch.float64), backend, alpha=56.0).isfinite()
