"""The same numbers as pytorch-metric-learning at equal parameters, and its checkpoints.

Where conventions differ: their ProxyNCALoss(softmax_scale=t) uses squared distances, so it is scale 2t, with the own
proxy in the denominator; their temperature is 1 / scale; their ArcFace margin is in degrees; their SoftTriple has its
regulariser as an option of its own; their softmax weights are stored D x C.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import dmlkernels as dml
from tests.cases import Case
from tests.problem import Problem, make_problem

theirs = pytest.importorskip("pytorch_metric_learning.losses")

C, D, K = 5, 6, 2
CASE = Case("pml", "several samples a class, one class absent", 12, D, C, labels=(0, 1, 2, 0, 4, 1) * 2, pull=1.0)


class Pair:
    """One of their losses, the name of its parameter, and ours."""

    def __init__(self, loss: Any, parameter: str, ours: Callable[..., Tensor], module: Any, **options: Any) -> None:
        self.loss, self.parameter, self.ours, self.module, self.options = loss, parameter, ours, module, options

    def __str__(self) -> str:
        return type(self.loss).__name__


def pairs() -> list[Pair]:
    return [
        Pair(
            theirs.NormalizedSoftmaxLoss(C, D, temperature=0.07), "W",
            dml.normalized_softmax_loss, dml.NormalizedSoftmaxLoss, scale=1 / 0.07,
        ),
        Pair(theirs.ProxyNCALoss(C, D, softmax_scale=9), "proxies", dml.proxy_nca_loss, dml.ProxyNCALoss, scale=18.0),
        Pair(
            theirs.ProxyNCALoss(C, D, softmax_scale=9), "proxies",
            dml.normalized_softmax_loss, dml.NormalizedSoftmaxLoss, scale=18.0,
        ),
        Pair(
            theirs.CosFaceLoss(C, D, margin=0.35, scale=64), "W",
            dml.cosface_loss, dml.CosFaceLoss, margin=0.35, scale=64.0,
        ),
        Pair(
            theirs.ArcFaceLoss(C, D, margin=28.6, scale=64), "W",
            dml.arcface_loss, dml.ArcFaceLoss, margin=math.radians(28.6), scale=64.0,
        ),
        Pair(
            theirs.ArcFaceLoss(C, D, margin=80, scale=10), "W",
            dml.arcface_loss, dml.ArcFaceLoss, margin=math.radians(80), scale=10.0,
        ),
        Pair(
            theirs.ProxyAnchorLoss(C, D, margin=0.1, alpha=32), "proxies",
            dml.proxy_anchor_loss, dml.ProxyAnchorLoss, margin=0.1, alpha=32.0,
        ),
        Pair(
            theirs.SoftTripleLoss(C, D, centers_per_class=K, la=20, gamma=0.1, margin=0.01), "fc",
            dml.soft_triple_loss, dml.SoftTripleLoss, centers_per_class=K, tau=0.0,
        ),
        Pair(
            theirs.SubCenterArcFaceLoss(num_classes=C, embedding_size=D, margin=28.6, scale=16, sub_centers=K), "W",
            dml.sub_center_arcface_loss, dml.SubCenterArcFaceLoss, margin=math.radians(28.6), scale=16.0,
            centers_per_class=K,
        ),
    ]  # fmt: skip


every_pair = pytest.mark.parametrize("pair", pairs(), ids=str)


def proxies_of(pair: Pair) -> Tensor:
    """Their parameter as ours, (C, D)."""
    parameter = getattr(pair.loss, pair.parameter)
    return parameter if pair.parameter == "proxies" else parameter.T


def problem() -> Problem:
    return make_problem(CASE)


@every_pair
def test_values_and_gradients(pair: Pair, backend: str) -> None:
    loss = pair.loss.double()
    x, labels = problem().embeddings, problem().labels
    parameter = getattr(loss, pair.parameter)
    expected = loss(x, labels)
    expected_x, expected_p = torch.autograd.grad(expected, (x, parameter))
    proxies = proxies_of(pair).detach().clone().requires_grad_()
    found = pair.ours(x, labels, proxies, backend=backend, **pair.options)
    found_x, found_p = torch.autograd.grad(found, (x, proxies))
    if pair.parameter != "proxies":
        expected_p = expected_p.T
    torch.testing.assert_close((found, found_x, found_p), (expected, expected_x, expected_p), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("margin", "scale"), [(0.25, 256.0), (0.4, 8.0)])
def test_circle_with_proxies_as_references(margin: float, scale: float, backend: str) -> None:
    x, labels, proxies = problem().embeddings, problem().labels, problem().proxies
    expected = theirs.CircleLoss(m=margin, gamma=scale)(x, labels, ref_emb=proxies, ref_labels=torch.arange(C))
    found = dml.circle_loss(x, labels, proxies, margin=margin, scale=scale, backend=backend)
    gradients = (torch.autograd.grad(value, (x, proxies)) for value in (found, expected))
    ours, others = ((value, *gradient) for value, gradient in zip((found, expected), gradients, strict=True))
    torch.testing.assert_close(ours, others, rtol=1e-9, atol=1e-10)


def test_soft_triple_with_their_regulariser(backend: str) -> None:
    """Ours adds the paper's 1e-5 under the root, theirs almost nothing."""
    regular = pytest.importorskip("pytorch_metric_learning.regularizers").SparseCentersRegularizer(C, K)
    x, labels = problem().embeddings, problem().labels
    sizes = {"num_classes": C, "embedding_size": D, "centers_per_class": K}
    plain = theirs.SoftTripleLoss(**sizes).double()
    loss = theirs.SoftTripleLoss(**sizes, weight_regularizer=regular, weight_reg_weight=0.2).double()
    plain.load_state_dict(loss.state_dict(), strict=False)
    centers = loss.fc.T.detach()
    with_it, without = (
        dml.soft_triple_loss(x, labels, centers, centers_per_class=K, tau=tau, backend=backend) for tau in (0.2, 0.0)
    )
    expected = loss(x, labels) - plain(x, labels)
    assert expected < with_it - without < (1 + 1e-5) * expected


@every_pair
def test_checkpoints(pair: Pair) -> None:
    module = pair.module(C, D, dtype=torch.float64, **pair.options)
    loss = pair.loss.double()
    module.load_pytorch_metric_learning(loss.state_dict())
    assert torch.equal(module.proxies, proxies_of(pair))
    torch.testing.assert_close(
        module(problem().embeddings, problem().labels), loss(problem().embeddings, problem().labels)
    )


def test_checkpoints_that_do_not_fit() -> None:
    module = dml.CosFaceLoss(C, D)
    with pytest.raises(ValueError, match=r"^state\['W'\]: holds \(6, 6\) proxies, expected \(5, 6\)"):
        module.load_pytorch_metric_learning(theirs.CosFaceLoss(C + 1, D).state_dict())
    with pytest.raises(ValueError, match=r"^state: got keys \['weight'\], expected 'W' for CosFaceLoss"):
        module.load_pytorch_metric_learning(torch.nn.Linear(2, 2, bias=False).state_dict())
    with pytest.raises(ValueError, match=r"^state: got keys \['proxies'\], expected 'W' for CosFaceLoss"):
        module.load_pytorch_metric_learning(theirs.ProxyAnchorLoss(C, D).state_dict())


def test_a_prefix_in_the_state_dict() -> None:
    module, loss = dml.ProxyAnchorLoss(C, D), theirs.ProxyAnchorLoss(C, D)
    state = torch.nn.ModuleDict({"loss_fn": loss}).state_dict()
    module.load_pytorch_metric_learning(state, prefix="loss_fn.")
    assert torch.equal(module.proxies, loss.proxies)


@pytest.mark.parametrize("pair", [pair for pair in pairs() if pair.module is not dml.ProxyAnchorLoss], ids=str)
def test_logits(pair: Pair) -> None:
    """The same order of classes. Their ProxyNCALoss gives squared distances, the least for the best."""
    module = pair.module(C, D, dtype=torch.float64, **pair.options)
    loss = pair.loss.double()
    module.load_pytorch_metric_learning(loss.state_dict())
    found, expected = (which.get_logits(problem().embeddings) for which in (module, loss))
    order = -1 if isinstance(loss, theirs.ProxyNCALoss) else 1
    assert torch.equal(found.argsort(1), (order * expected).argsort(1))
