"""Gradients against finite differences, and the ways in which gradients are asked for."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from tests.cases import Case
from tests.closed_form import choose_closed_form
from tests.conformance.evaluate import factor_like, ours
from tests.conformance.spy import Spy
from tests.losses import EVERY, LOSSES, Loss
from tests.problem import PARAMETERS, VECTORS, make_problem

SMALL = Case("small", "for finite differences", 6, 3, 4, labels=(0, 1, 0, -100, 2, 1), pull=1.0)
every_branch = pytest.mark.parametrize("loss", EVERY, ids=str)
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=str)
TWO_SIDED = [loss for loss in EVERY if len(loss.leaves) == 2 and not loss.meets_itself]


GRADCHECKED = [
    pytest.param(loss, closed_form, id=f"{loss}{'_closed_form' * closed_form}")
    for loss in EVERY
    for closed_form in (False, True)
    if not loss.holds_targets and (loss.quadratic or not closed_form)
]


@pytest.mark.parametrize(("loss", "closed_form"), GRADCHECKED)
def test_gradcheck(loss: Loss, backend: str, closed_form: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    choose_closed_form(monkeypatch, closed_form)
    problem = make_problem(SMALL)
    leaves = [getattr(problem, name) for name in loss.leaves]

    def call(*values: torch.Tensor) -> torch.Tensor:
        return loss(replace(problem, **dict(zip(loss.leaves, values, strict=True))), backend)

    assert torch.autograd.gradcheck(call, leaves)


@every_branch
def test_one_gradient_alone_is_the_same_and_is_all_that_is_computed(loss: Loss, backend: str) -> None:
    problem = make_problem("some_ignored")
    whole = ours(loss, problem, backend).gradients
    for name in loss.leaves:
        others = [other for other in loss.leaves if other != name]
        alone = problem.frozen(*others)
        with Spy() as spy:
            found = ours(loss, alone, backend).gradients
        torch.testing.assert_close(found, {name: whole[name]}, rtol=1e-12, atol=1e-14)
        if loss in TWO_SIDED:
            assert_one_sided(spy)


@pytest.mark.parametrize("loss", TWO_SIDED, ids=str)
def test_unwanted_gradients_are_not_computed(loss: Loss, backend: str) -> None:
    """The same, asked for with torch.autograd.grad while everything could have a gradient, be it a leaf or not."""
    leaves = make_problem("plain")
    results = replace(leaves, **{name: 2 * getattr(leaves, name) for name in loss.leaves})
    for problem in (leaves, results):
        for name in loss.leaves:
            value = loss(problem, backend)
            with Spy() as spy:
                torch.autograd.grad(value, getattr(problem, name), torch.ones_like(value))
            assert_one_sided(spy)


def assert_one_sided(spy: Spy) -> None:
    assert spy.gradients_of_pairs
    for needs_rows, needs_columns, _ in spy.gradients_of_pairs:
        assert needs_rows != needs_columns


@every_branch
def test_frozen_inputs_make_a_frozen_loss(loss: Loss, backend: str) -> None:
    problem = make_problem("plain").frozen(*VECTORS, *PARAMETERS)
    with Spy() as spy:
        value = loss(problem, backend)
    assert not value.requires_grad and value.isfinite().all()
    assert not spy.gradients_of_pairs


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if "atoms" in loss.inputs], ids=str)
def test_atoms_get_no_gradient(loss: Loss, backend: str) -> None:
    problem = make_problem("plain")
    atoms = problem.atoms.clone().requires_grad_()
    value = loss(replace(problem, atoms=atoms), backend)
    assert torch.autograd.grad(value, atoms, allow_unused=True) == (None,)


@every_branch
def test_second_backward_is_the_same(loss: Loss, backend: str) -> None:
    problem = make_problem("some_ignored")
    leaves = [getattr(problem, name) for name in loss.leaves]
    value = loss(problem, backend)
    gradient = partial(torch.autograd.grad, value, leaves, factor_like(value))
    first = [found.clone() for found in gradient(retain_graph=True)]
    assert all(map(torch.equal, gradient(retain_graph=True), first))
    doubled = torch.autograd.grad(value, leaves, 2 * factor_like(value))
    torch.testing.assert_close(doubled, tuple(2 * found for found in first), rtol=1e-12, atol=1e-14)


@every_branch
def test_expanded_upstream_gradients(loss: Loss, backend: str) -> None:
    problem = make_problem("plain")
    leaves = [getattr(problem, name) for name in loss.leaves]
    value = loss(problem, backend)
    expanded = torch.tensor(3.0, dtype=value.dtype).expand(value.shape)
    found = torch.autograd.grad(value, leaves, expanded, retain_graph=True)
    expected = torch.autograd.grad(value.sum(), leaves)
    torch.testing.assert_close(found, tuple(3 * gradient for gradient in expected), rtol=1e-12, atol=1e-14)


@every_branch
def test_double_backward_raises(loss: Loss, backend: str) -> None:
    problem = make_problem("plain")
    leaves = [getattr(problem, name) for name in loss.leaves]
    first = torch.autograd.grad(loss(problem, backend).sum(), leaves, create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(sum(gradient.square().sum() for gradient in first), leaves)


@every_loss
def test_gradients_accumulate(loss: Loss, backend: str) -> None:
    problem = make_problem("plain")
    expected = torch.autograd.grad(loss(problem, backend), [getattr(problem, name) for name in loss.leaves])
    for _ in range(2):
        loss(problem, backend).backward()
    for name, gradient in zip(loss.leaves, expected, strict=True):
        torch.testing.assert_close(getattr(problem, name).grad, 2 * gradient, rtol=1e-12, atol=0)
