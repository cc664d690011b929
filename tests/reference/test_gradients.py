"""Autograd through the reference against the closed forms of the papers, and against finite differences."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dmlkernels import reference
from dmlkernels.reference.decidability import decidability_objective
from tests.reference.data import UNORDERED, normal, problem


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


def through_normalisation(x: Tensor, g: Tensor) -> Tensor:
    """r (g - <g, x^> x^)."""
    unit = F.normalize(x, dim=1)
    return (g - (g * unit).sum(1, keepdim=True) * unit) / x.norm(dim=1, keepdim=True)


def pd_slopes(s: Tensor, genuine: Tensor, eps: float) -> Tensor:
    """dL/ds of form neg_log above min_gap."""
    gap = s[genuine].mean() - s[~genuine].mean()
    variance = s[genuine].var(correction=0) + s[~genuine].var(correction=0) + eps
    on_g = -1 / (genuine.sum() * gap) + (s - s[genuine].mean()) / (genuine.sum() * variance)
    on_i = 1 / ((~genuine).sum() * gap) + (s - s[~genuine].mean()) / ((~genuine).sum() * variance)
    return torch.where(genuine, on_g, on_i)


@pytest.mark.parametrize("eps", [0.0, 1e-2])
def test_pd_slopes(eps: float) -> None:
    genuine = torch.eye(5, dtype=torch.bool)[[0, 1, 2, 3, 4, 0]]
    scores = (0.3 * normal(6, 5) + genuine).requires_grad_()
    loss = decidability_objective(scores[genuine], scores[~genuine], "neg_log", 0, 0.01, eps)
    close(torch.autograd.grad(loss, scores)[0], pd_slopes(scores.detach(), genuine, eps))


def test_pd_gradients_of_embeddings_and_proxies() -> None:
    p = normal(5, 4, seed=1).requires_grad_()
    y = torch.tensor([0, 1, 2, 3, 4, 0])
    x = (p.detach()[y] + normal(6, 4)).requires_grad_()
    grad_x, grad_p = torch.autograd.grad(reference.pd_loss(x, y, p), (x, p))
    x, p = x.detach(), p.detach()
    unit_x, unit_p = F.normalize(x, dim=1), F.normalize(p, dim=1)
    genuine = y[:, None] == torch.arange(5)
    slopes = pd_slopes(unit_x @ unit_p.T, genuine, 1e-6)
    close(grad_x, through_normalisation(x, slopes @ unit_p))
    close(grad_p, through_normalisation(p, slopes.T @ unit_x))

    # The same without a B x C matrix: the impostors' affine slope everywhere, corrected on the genuine pairs.
    s = unit_x @ unit_p.T
    n, m = (~genuine).sum(), s[~genuine].mean()
    variance = s[genuine].var(correction=0) + s[~genuine].var(correction=0) + 1e-6
    b = 1 / (n * variance)
    a = 1 / (n * (s[genuine].mean() - m)) - m * b
    correction = slopes[genuine] - (a + b * s[genuine])
    g_x = a * unit_p.sum(0) + b * unit_x @ (unit_p.T @ unit_p) + correction[:, None] * unit_p[y]
    g_p = a * unit_x.sum(0) + b * unit_p @ (unit_x.T @ unit_x)
    g_p = g_p.index_add(0, y, correction[:, None] * unit_x)
    close(grad_x, through_normalisation(x, g_x))
    close(grad_p, through_normalisation(p, g_p))


def test_row_moments_have_a_closed_form() -> None:
    unit_x, unit_p = F.normalize(normal(6, 4), dim=1), F.normalize(normal(9, 4, seed=1), dim=1)
    s = unit_x @ unit_p.T
    centred = unit_p - unit_p.mean(0)
    close(unit_x @ unit_p.mean(0), s.mean(1))
    close(((unit_x @ (centred.T @ centred)) * unit_x).sum(1), (s - s.mean(1, keepdim=True)).square().sum(1))


def test_field_gradient_is_twice_the_tangent_force() -> None:
    x, y, p = problem(0, UNORDERED, dim=3)
    x, y = x[y >= 0], y[y >= 0]
    points = torch.cat((x, p)).requires_grad_()
    labels = torch.cat((y, torch.tensor(UNORDERED)))
    options: dict[str, Any] = {"alpha": 2.0, "delta_att": 0.6, "delta_rep": 1.1}
    energy = reference.potential_field_loss(
        points[: len(x)], y, points[len(x) :], proxy_labels=torch.tensor(UNORDERED), reduction="sum", **options
    )
    (gradient,) = torch.autograd.grad(energy, points)
    # A point that is its own source has no force on itself: its distance is below d_min.
    _, force = reference.potential_field(points.detach(), labels, points.detach(), labels, **options)
    close(gradient, -2 * through_normalisation(points.detach(), force))


@pytest.mark.parametrize("detach_proxies", [True, False])
def test_symmetric_kl_gradient_with_held_targets(detach_proxies: bool) -> None:
    x, v, p = (normal(n, 4, seed=n).requires_grad_() for n in (6, 6, 9))
    v = normal(6, 4, seed=7).requires_grad_()
    loss = reference.symmetric_kl_loss(x, v, p, temperature=0.2, detach_proxies=detach_proxies)
    grad_x, grad_v, grad_p = torch.autograd.grad(loss, (x, v, p), allow_unused=True)
    x, v, p = x.detach(), v.detach(), p.detach()
    unit_x, unit_v, unit_p = (F.normalize(rows, dim=1) for rows in (x, v, p))
    difference = torch.softmax(unit_x @ unit_p.T / 0.2, 1) - torch.softmax(unit_v @ unit_p.T / 0.2, 1)
    slopes = difference / (2 * 6 * 0.2)
    close(grad_x, through_normalisation(x, slopes @ unit_p))
    close(grad_v, through_normalisation(v, -slopes @ unit_p))
    if detach_proxies:
        assert grad_p is None
    else:
        close(grad_p, through_normalisation(p, slopes.T @ (unit_x - unit_v)))


def test_odba_gradient_is_that_of_a_quadratic_form() -> None:
    x, atoms = normal(6, 5).requires_grad_(), normal(3, 5, seed=1).requires_grad_()
    loss = reference.odba_penalty(x, atoms)
    grad_x, grad_atoms = torch.autograd.grad(loss, (x, atoms), allow_unused=True)
    x, unit_atoms = x.detach(), F.normalize(atoms.detach(), dim=1)
    close(grad_x, through_normalisation(x, 2 / 18 * F.normalize(x, dim=1) @ unit_atoms.T @ unit_atoms))
    assert grad_atoms is None


def test_softmax_gradient_is_probability_minus_one_hot() -> None:
    x, y, p = normal(6, 4).requires_grad_(), torch.tensor([0, 1, 2, 3, 4, 0]), normal(5, 4, seed=1)
    (gradient,) = torch.autograd.grad(reference.normalized_softmax_loss(x, y, p, scale=7.0), x)
    x, unit_p = x.detach(), F.normalize(p, dim=1)
    probabilities = torch.softmax(7 * F.normalize(x, dim=1) @ unit_p.T, dim=1)
    slopes = 7 / 6 * (probabilities - F.one_hot(y, 5))
    close(gradient, through_normalisation(x, slopes @ unit_p))


_Q = torch.tensor(UNORDERED)
_FIELD: dict[str, Any] = {"alpha": 2.0, "delta_att": 0.6, "delta_rep": 1.1}
_PROXY_LOSSES: dict[str, Callable[..., Tensor]] = {
    "pd": partial(reference.pd_loss, proxy_labels=_Q),
    "pd_neg": partial(reference.pd_loss, proxy_labels=_Q, form="neg", correction=1, temperature=0.5),
    "pd_inverse": partial(reference.pd_loss, proxy_labels=_Q, form="inverse"),
    "decidability": lambda x, y, p: reference.decidability_loss(x, y),
    "field": partial(reference.potential_field_loss, proxy_labels=_Q, **_FIELD),
    "field_alone": lambda x, y, p: reference.potential_field_loss(x, y, **_FIELD),
    "odba": lambda x, y, p: reference.odba_penalty(x, p),
    "symmetric_kl": lambda x, y, p: reference.symmetric_kl_loss(
        x, x.flip(0).tanh(), p, temperature=0.3, detach_targets=False, detach_proxies=False
    ),
    "softmax": partial(reference.normalized_softmax_loss, proxy_labels=_Q),
    "softmax_none": partial(reference.normalized_softmax_loss, proxy_labels=_Q, reduction="none"),
    "nca": partial(reference.proxy_nca_loss, proxy_labels=_Q, include_positive=False),
    "cosface": partial(reference.cosface_loss, proxy_labels=_Q, scale=8.0),
    "arcface": partial(reference.arcface_loss, proxy_labels=_Q, scale=8.0),
    "arcface_wide": partial(reference.arcface_loss, proxy_labels=_Q, scale=8.0, margin=1.5),
    "anchor": partial(reference.proxy_anchor_loss, proxy_labels=_Q),
    "soft_triple": lambda x, y, p: reference.soft_triple_loss(
        x, y, torch.cat((p, p.sin() + 1))[:12], centers_per_class=3
    ),
    "fused": lambda x, y, p: reference.fused_objective(
        x, y, p, normal(3, 4, seed=5), field_weight=0.3, odba_weight=2.0, proxy_labels=_Q, **_FIELD
    )[0],
}


@pytest.mark.parametrize("name", _PROXY_LOSSES)
def test_gradcheck(name: str) -> None:
    loss = _PROXY_LOSSES[name]
    x, y, p = problem(3, UNORDERED)
    x.requires_grad_()
    p.requires_grad_(name not in ("decidability", "field_alone", "odba"))
    assert torch.autograd.gradcheck(lambda x, p: loss(x, y, p), (x, p))


@pytest.mark.parametrize("normalize", [True, False])
def test_force_is_minus_the_gradient_of_the_potential_at_a_free_point(normalize: bool) -> None:
    z, sources = F.normalize(normal(5, 3), dim=1), normal(8, 3, seed=1)
    y, q = torch.tensor([0, 1, 2, 0, 9]), torch.tensor([0, 1, 2, 0, 1, 2, 3, 3])
    sources = F.normalize(sources, dim=1) if normalize else sources
    _, force = reference.potential_field(z, y, sources, q, normalize=normalize, **_FIELD)
    step = 1e-6
    for axis in range(3):
        shift = torch.zeros(3, dtype=z.dtype)
        shift[axis] = step
        up, _ = reference.potential_field(z + shift, y, sources, q, normalize=False, **_FIELD)
        down, _ = reference.potential_field(z - shift, y, sources, q, normalize=False, **_FIELD)
        torch.testing.assert_close(force[:, axis], (down - up) / (2 * step), rtol=1e-6, atol=1e-8)
