"""NaN, infinities, zeros and steep fields; what an ignored row holds does not matter."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import dmlkernels as dml
from dmlkernels import reference
from tests.closed_form import choose_closed_form
from tests.conformance.evaluate import assert_close, ours, truth
from tests.losses import EVERY, FIELD, FIELD_ALONE, FUSED, LOSSES, Loss
from tests.problem import PARAMETERS, make_problem

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


@pytest.mark.sampled(3)
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
    choose_closed_form(monkeypatch, closed_form)
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


@pytest.mark.parametrize("loss", [FIELD, FIELD_ALONE], ids=str)
def test_sums_of_many_equal_energies_do_not_drift(loss: Loss, backend: str) -> None:
    """Flat hills of 0.2^-0.5: a float32 sum of 700 of them is rounded the same way 700 times."""
    torch.manual_seed(0)
    problem = replace(
        make_problem("plain", torch.float32), embeddings=torch.randn(2000, 16), proxies=torch.randn(50, 16),
        labels=torch.arange(2000) % 50, proxy_labels=None,
    )  # fmt: skip
    raw = loss.branch("raw", alpha=0.5, unit_depth=False)
    true = raw.truth(problem.cast(torch.float64))
    torch.testing.assert_close(raw(problem, backend).double(), true, rtol=5e-7, atol=0)


def test_energy_beyond_the_range_is_infinite(backend: str) -> None:
    """A copy of another class's sample: (0.2 / 0.01)^56 = 7e72."""
    problem = make_problem("duplicates", torch.float32)
    assert FIELD(problem, backend, alpha=56.0) == torch.inf
    assert FIELD(problem.cast(torch.float64), backend, alpha=56.0).isfinite()


@pytest.mark.parametrize("options", [{"min_gap": 1e-8}, {"temperature": 1e-6}], ids=str)
def test_the_slope_of_a_gap_far_above_the_smallest(options: dict[str, float], backend: str) -> None:
    problem = make_problem("plain", torch.float32)
    wide = problem.cast(torch.float64, "embeddings", "proxies")
    given = [problem.embeddings, problem.labels, problem.proxies]
    found = torch.autograd.grad(dml.pd_loss(*given, backend=backend, **options), [given[0], given[2]])
    given = [wide.embeddings, wide.labels, wide.proxies]
    true = torch.autograd.grad(reference.pd_loss(*given, **options), [given[0], given[2]])
    for one, other in zip(found, true, strict=True):
        assert (one.double() - other).norm() <= 1e-5 * other.norm()
