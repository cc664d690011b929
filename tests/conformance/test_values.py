"""float64 values and gradients equal the reference on the whole hostile case table, whichever way they come about."""

from __future__ import annotations

import pytest
import torch

from dmlkernels.backends.blocked import plan, spread
from tests.cases import CASES, Case
from tests.closed_form import choose_closed_form
from tests.conformance.evaluate import assert_close, ours, truth
from tests.losses import BRANCHES, EVERY, LOSSES, WAYS, Loss
from tests.problem import NAMED, make_problem

BRANCH_CASES = ("plain", "unordered_proxies", "some_ignored", "clustered", "collapsed", "dim_130")


def _pairs(losses: tuple[Loss, ...], cases: tuple[Case, ...]) -> pytest.MarkDecorator:
    wanted = [(loss, case) for loss in losses for case in cases if loss.applies(case)]
    return pytest.mark.parametrize(("loss", "case"), wanted, ids=str)


def check(loss: Loss, case: Case, backend: str) -> None:
    problem = make_problem(case)
    assert_close(ours(loss, problem, backend), truth(loss, problem), problem, loss.tolerance)


def cut_small(monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    """Several tiles in both directions, the last ones ragged."""
    rows, columns = case.batch // 3 + 1, case.num_proxies // 3 + 1
    monkeypatch.setattr(plan, "BLOCK_ROWS", rows)
    monkeypatch.setattr(plan, "SQUARE_BLOCK", max(rows, columns) // 2 + 1)
    monkeypatch.setattr(plan, "TILE_ELEMENTS", columns * max(rows, case.dim))
    monkeypatch.setattr(spread, "BLOCK_ELEMENTS", columns * case.dim)


@_pairs(LOSSES, CASES)
def test_every_case(loss: Loss, case: Case, backend: str) -> None:
    check(loss, case, backend)


@_pairs(BRANCHES, tuple(NAMED[name] for name in BRANCH_CASES))
def test_every_branch(loss: Loss, case: Case, backend: str) -> None:
    check(loss, case, backend)


@pytest.mark.sampled(3)
@_pairs(WAYS, CASES)
def test_small_tiles(loss: Loss, case: Case, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_small(monkeypatch, case)
    choose_closed_form(monkeypatch, False)
    check(loss, case, backend)


@pytest.mark.sampled(3)
@_pairs(tuple(loss for loss in EVERY if loss.quadratic), CASES)
@pytest.mark.parametrize("small", [False, True], ids=["whole", "small_blocks"])
def test_closed_form(loss: Loss, case: Case, backend: str, small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if small:
        cut_small(monkeypatch, case)
    choose_closed_form(monkeypatch, True)
    check(loss, case, backend)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_value_has_the_widest_dtype(loss: Loss, backend: str) -> None:
    problem = make_problem("plain", torch.float32)
    assert loss(problem, backend).dtype == torch.float32
    assert loss(problem.cast(torch.bfloat16), backend).dtype == torch.float32
    assert loss(problem.cast(torch.float64), backend).dtype == torch.float64
    mixed = problem.cast(torch.float16, "embeddings")
    assert loss(mixed, backend).dtype == torch.float32


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if not loss.reads_norms], ids=str)
def test_one_dimension_leaves_nothing_to_turn(loss: Loss, backend: str) -> None:
    problem = make_problem("dim_1")
    outcome = ours(loss, problem, backend)
    assert outcome.value.isfinite()
    for name, gradient in outcome.gradients.items():
        assert (gradient * getattr(problem, name)).abs().max() < 1e-12
