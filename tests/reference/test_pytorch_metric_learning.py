"""Agreement with pytorch-metric-learning where its conventions meet ours."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from dmlkernels import reference
from tests.reference.data import normal

theirs = pytest.importorskip("pytorch_metric_learning.losses")

LABELS = torch.tensor([0, 1, 2, 0, 4, 1])  # class 3 is absent


def agree(loss: Any, parameter: str, proxies: Tensor, ours: Any, **options: Any) -> None:
    """Values and gradients; their softmax weights are stored D x C."""
    weight = proxies.T if parameter in ("W", "fc") else proxies
    setattr(loss, parameter, torch.nn.Parameter(weight.clone()))
    x = normal(6, 4).requires_grad_()
    value = loss(x, LABELS)
    grad_x, grad_p = torch.autograd.grad(value, (x, getattr(loss, parameter)))
    p = proxies.clone().requires_grad_()
    actual = ours(x, LABELS, p, **options)
    actual_x, actual_p = torch.autograd.grad(actual, (x, p))
    expected = value, grad_x, grad_p.T if weight is not proxies else grad_p
    for mine, other in zip((actual, actual_x, actual_p), expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-10)


P = normal(5, 4, seed=1)


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_normalized_softmax(temperature: float) -> None:
    loss = theirs.NormalizedSoftmaxLoss(5, 4, temperature=temperature)
    agree(loss, "W", P, reference.normalized_softmax_loss, scale=1 / temperature)


@pytest.mark.parametrize("scale", [1.0, 9.0])
def test_proxy_nca_is_the_softmax_at_twice_the_scale(scale: float) -> None:
    loss = theirs.ProxyNCALoss(5, 4, softmax_scale=scale)
    agree(loss, "proxies", P, reference.proxy_nca_loss, scale=2 * scale)
    agree(loss, "proxies", P, reference.normalized_softmax_loss, scale=2 * scale)


@pytest.mark.parametrize(("scale", "margin"), [(64.0, 0.35), (10.0, 0.1)])
def test_cosface(scale: float, margin: float) -> None:
    loss = theirs.CosFaceLoss(5, 4, margin=margin, scale=scale)
    agree(loss, "W", P, reference.cosface_loss, margin=margin, scale=scale)


@pytest.mark.parametrize(("scale", "degrees"), [(64.0, 28.6), (10.0, 80.0)])
def test_arcface_takes_degrees_there(scale: float, degrees: float) -> None:
    loss = theirs.ArcFaceLoss(5, 4, margin=degrees, scale=scale)
    agree(loss, "W", P, reference.arcface_loss, margin=math.radians(degrees), scale=scale)


@pytest.mark.parametrize(("alpha", "margin"), [(32.0, 0.1), (8.0, 0.3)])
def test_proxy_anchor(alpha: float, margin: float) -> None:
    """Same conventions: the pull over present classes, the push over all of them."""
    loss = theirs.ProxyAnchorLoss(5, 4, alpha=alpha, margin=margin)
    agree(loss, "proxies", P, reference.proxy_anchor_loss, alpha=alpha, margin=margin)


@pytest.mark.parametrize("centers_per_class", [1, 3])
def test_soft_triple_without_regulariser(centers_per_class: int) -> None:
    loss = theirs.SoftTripleLoss(5, 4, centers_per_class=centers_per_class, la=15, gamma=0.2, margin=0.05)
    centers = normal(5 * centers_per_class, 4, seed=2)
    agree(
        loss, "fc", centers, reference.soft_triple_loss,
        centers_per_class=centers_per_class, scale=15.0, gamma=0.2, tau=0.0, margin=0.05,
    )  # fmt: skip
