"""Weights of samples: which losses take them, their gradient, and what modules make of them."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import pytest
import torch

import dmlkernels as dml
from tests.cases import Case
from tests.losses import EVERY, LOSSES, Loss
from tests.problem import NAMED, Problem, make_problem

CASES = ("plain", "unordered_proxies", "some_ignored")
TAKERS = [
    loss if "sample_weight" in loss.keywords else loss.branch("weights", {"sample_weight": "weight"})
    for loss in EVERY
    if "sample_weight" in loss.keywords
    or (loss in LOSSES and "sample_weight" in inspect.signature(getattr(dml, loss.function)).parameters)
]
WEIGHTED = [(loss, NAMED[name]) for loss in TAKERS for name in CASES if loss.applies(NAMED[name])]
NOT_MEANS_OVER_SAMPLES = {
    "pd_loss": "moments of all scores",
    "decidability_loss": "moments of the scores of pairs",
    "potential_field_loss": "a sum over pairs of points",
    "fused_objective": "made of such parts",
    "proxy_anchor_loss": "means over proxies",
}


def weighing(problem: Problem) -> Problem:
    """A problem whose weights want a gradient."""
    return replace(problem, weight=problem.weight.detach().requires_grad_())


def test_every_mean_over_samples_takes_weights() -> None:
    losses = {name: getattr(dml, name) for name in dml.__all__ if name.endswith(("_loss", "_penalty", "_objective"))}
    without = {name for name, loss in losses.items() if "sample_weight" not in inspect.signature(loss).parameters}
    assert without == set(NOT_MEANS_OVER_SAMPLES)
    assert {loss.function for loss in TAKERS} == set(losses) - without


@pytest.mark.parametrize(("loss", "case"), WEIGHTED, ids=str)
def test_gradient_of_the_weights(loss: Loss, case: Case, backend: str) -> None:
    check_gradient(loss, case, backend)


def check_gradient(loss: Loss, case: Case, backend: str) -> None:
    """Value and gradient of the weights are the reference's."""
    found, true = (weighing(make_problem(case)) for _ in range(2))
    ours, truth = loss(found, backend), loss.truth(true)
    factor = torch.linspace(0.5, 1.5, max(ours.numel(), 1), dtype=torch.float64).reshape(ours.shape)
    (gradient,), (expected,) = (
        torch.autograd.grad(value, problem.weight, factor) for value, problem in ((ours, found), (truth, true))
    )
    torch.testing.assert_close((ours, gradient), (truth, expected), rtol=1e-9, atol=1e-10)
    assert expected.any()


@pytest.mark.parametrize(("loss", "case"), [pair for pair in WEIGHTED if pair[1].name == "plain"], ids=str)
def test_a_weight_of_two_is_the_sample_twice(loss: Loss, case: Case, backend: str) -> None:
    if loss.options.get("reduction") == "none" or "adaface" in loss.name:
        pytest.skip("not one number, or the batch has other norms")
    problem = make_problem(case).frozen("embeddings", "intervened", "sample_margin", "sample_scale")
    of_samples = ("embeddings", "intervened", "labels", "sample_margin", "sample_scale")
    twice = replace(
        problem,
        **{name: torch.cat((getattr(problem, name), getattr(problem, name)[:4])) for name in of_samples},
        weight=torch.ones(len(problem.labels) + 4, dtype=torch.float64),
    )
    weight = torch.cat((torch.full((4,), 2.0), torch.ones(len(problem.labels) - 4))).double()
    torch.testing.assert_close(loss(replace(problem, weight=weight), backend), loss(twice, backend))


@pytest.mark.parametrize("function", ["odba_penalty", "symmetric_kl_loss"])
def test_equal_weights_change_nothing(function: str, backend: str) -> None:
    x, y, columns = torch.randn(3, 6, 8)
    given = (x, columns) if function == "odba_penalty" else (x, y, columns)
    options: dict[str, Any] = {"backend": backend, **({} if function == "odba_penalty" else {"temperature": 0.2})}
    loss = getattr(dml, function)
    torch.testing.assert_close(loss(*given, **options), loss(*given, sample_weight=torch.full((6,), 0.3), **options))
    dropped = loss(*given, sample_weight=(torch.arange(6) < 4).half(), **options)
    torch.testing.assert_close(dropped, loss(*(part[:4] for part in given[:-1]), columns, **options))


def couce(base: Any) -> dml.CouCE:
    module = dml.CouCE(base, dictionary=dml.BackgroundDictionary(3, 8))
    module.dictionary.update(torch.randn(5, 8, generator=torch.Generator().manual_seed(1)))
    return module


def test_couce_weighs_its_base_and_both_terms() -> None:
    x, intervened = torch.randn(2, 6, 8)
    labels, weight = torch.tensor([0, 1, 2, 1, 3, 0]), torch.rand(6) + 0.1
    module = couce(dml.CosFaceLoss(4, 8))
    found = module(x, labels, intervened, sample_weight=weight)
    proxies, dictionary = module.base_loss.proxies, module.dictionary
    parts = {
        "base": dml.cosface_loss(x, labels, proxies, sample_weight=weight),
        "odba": dml.odba_penalty(x, dictionary.atoms, active=dictionary.active, sample_weight=weight),
        "invariance": dml.symmetric_kl_loss(x, intervened, proxies, temperature=0.1, sample_weight=weight),
    }
    for name, expected in parts.items():
        torch.testing.assert_close(module.parts[name], expected.detach())
    torch.testing.assert_close(found, sum(parts.values(), torch.zeros(())))
    with pytest.raises(TypeError, match=r"^sample_weight: PDLoss takes none"):
        couce(dml.PDLoss(4, 8))(x, labels, sample_weight=weight)


def test_a_memory_keeps_the_weights_of_its_samples() -> None:
    module = dml.NormalizedSoftmaxLoss(4, 8)
    memory = dml.CrossBatchMemory(module, 8, memory_size=9)
    batches, labels, weights = torch.randn(3, 6, 8), torch.tensor([0, 1, 2, 1, 3, 0]), torch.rand(2, 6)
    for batch, weight in zip(batches[:2], (weights[0], None), strict=True):
        memory(batch, labels, sample_weight=weight)
    found = memory(batches[2], labels, sample_weight=weights[1])
    kept = torch.cat((batches[0], batches[1]))[-9:], torch.cat((labels, labels))[-9:]
    of_kept = torch.cat((weights[0], torch.ones(6)))[-9:]
    expected = module(
        torch.cat((batches[2], kept[0])), torch.cat((labels, kept[1])), sample_weight=torch.cat((weights[1], of_kept))
    )
    torch.testing.assert_close(found, expected)
    unweighted = dml.CrossBatchMemory(dml.PDLoss(4, 8), 8)
    unweighted(batches[0], labels)
    with pytest.raises(TypeError, match=r"^sample_weight: PDLoss takes none"):
        unweighted(batches[0], labels, sample_weight=weights[0])
    with pytest.raises(ValueError, match=r"^sample_weight: got shape \(5,\), expected \(6,\)"):
        memory(batches[0], labels, sample_weight=weights[0][:5])
    with pytest.raises(TypeError, match=r"^ref_weight: PDLoss takes none"):
        dml.PDLoss(4, 8)(batches[0], labels, None, batches[1], labels, ref_weight=weights[0])
    with pytest.raises(ValueError, match=r"^ref_weight: got shape \(5,\), expected \(6,\)"):
        module(batches[0], labels, None, batches[1], labels, ref_weight=weights[0][:5])
