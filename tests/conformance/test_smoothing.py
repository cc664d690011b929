"""Label smoothing and class weights are those of torch's dense cross-entropy."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import dmlkernels as dml
from dmlkernels.ops.sums import unit_sum
from tests.problem import Problem, make_problem


def dense(problem: Problem, scale: float, margin: float = 0.0, **options: Any) -> Tensor:
    scores = F.normalize(problem.embeddings) @ F.normalize(problem.proxies).T
    logits = scale * (scores - margin * F.one_hot(problem.labels.clamp_min(0), scores.shape[1]).double())
    return F.cross_entropy(logits, problem.labels, **options)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_equals_dense_cross_entropy(smoothing: float, weighed: bool, reduction: str, backend: str) -> None:
    problem = make_problem("some_ignored")
    weights = problem.class_weights if weighed else None
    theirs = dense(problem, 8.0, 0.2, weight=weights, label_smoothing=smoothing, reduction=reduction)
    ours = dml.cosface_loss(
        problem.embeddings, problem.labels, problem.proxies, scale=8.0, margin=0.2, class_weights=weights,
        label_smoothing=smoothing, reduction=reduction, backend=backend,
    )  # fmt: skip
    leaves = (problem.embeddings, problem.proxies)
    found, expected = (torch.autograd.grad(value.sum(), leaves) for value in (ours, theirs))
    torch.testing.assert_close((ours, *found), (theirs, *expected), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, 2.0])
def test_smoothing_is_a_part(smoothing: float) -> None:
    with pytest.raises(ValueError, match=rf"^label_smoothing: got {smoothing}, expected a number"):
        dml.normalized_softmax_loss(torch.eye(3), torch.arange(3), torch.eye(3), label_smoothing=smoothing)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (torch.ones(3, dtype=torch.int64), TypeError, "got torch.int64, expected a floating type"),
        (torch.ones(2), ValueError, r"got shape \(1, 2\), expected"),
        (torch.ones(1, 3), ValueError, r"got shape \(1, 3\), expected \(C,\)"),
        ([1.0] * 3, TypeError, "got list, expected a tensor"),
        (torch.ones(3, device="meta"), ValueError, "is on meta, expected cpu"),
    ],
)
def test_wrong_class_weights(weights: Any, error: type[Exception], message: str) -> None:
    for function in (dml.normalized_softmax_loss, dml.proxy_nca_loss, dml.cosface_loss, dml.arcface_loss):
        with pytest.raises(error, match=f"^class_weights: {message}"):
            function(torch.eye(3), torch.arange(3), torch.eye(3), class_weights=weights)


def test_modules_keep_class_weights() -> None:
    problem = make_problem("plain", torch.float32)
    weights = torch.rand(5)
    module = dml.ArcFaceLoss(5, 8, class_weights=weights, label_smoothing=0.1, proxy_init=problem.proxies)
    assert set(module.state_dict()) == {"proxies", "class_weights"} and len(list(module.parameters())) == 1
    given = (problem.embeddings, problem.labels, problem.proxies)
    expected = dml.arcface_loss(*given, class_weights=weights, label_smoothing=0.1)
    assert torch.equal(module(problem.embeddings, problem.labels), expected)
    module.extend_classes(2)
    torch.testing.assert_close(module.class_weights[5:], weights.mean().expand(2))
    with pytest.raises(ValueError, match=r"^class_weights: got shape \(4,\), expected \(5,\)"):
        dml.ArcFaceLoss(5, 8, class_weights=torch.rand(4))


@pytest.mark.parametrize("weighed", [False, True])
def test_sum_of_unit_vectors(weighed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dmlkernels.ops.sums._HOST_ELEMENTS", 20)  # several blocks
    vectors = torch.randn(7, 8, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(7, dtype=torch.float64) if weighed else None
    expected = (F.normalize(vectors) * (1 if weights is None else weights[:, None])).sum(0)
    torch.testing.assert_close(unit_sum(vectors, weights), expected)
    assert torch.autograd.gradcheck(lambda x: unit_sum(x, weights), vectors)
    torch.library.opcheck(torch.ops.dmlkernels.unit_sum.default, (vectors, weights))
    (gradient,) = torch.autograd.grad(unit_sum(vectors, weights).square().sum(), vectors, create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        gradient.sum().backward()
