"""Numbers worked out by hand."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from dmlkernels import reference
from dmlkernels.reference.decidability import decidability_objective
from dmlkernels.reference.softmax import add_angle


def f64(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def close(actual: Tensor, expected: object, digits: float = 1e-12) -> None:
    torch.testing.assert_close(actual, f64(expected), rtol=digits, atol=digits)


THREE = f64([[3, 4], [0, 2], [1, 0]]), torch.tensor([0, 1, 0]), f64([[1, 0], [0, 5]])


@pytest.mark.parametrize(("correction", "squared", "loss"), [(0, 4.05, -0.3527849), (1, 2.7, -0.1500523)])
def test_pd_loss_of_three_samples(correction: int, squared: float, loss: float) -> None:
    # G = .6, 1, 1 and I = .8, 0, 0.
    options: dict[str, Any] = {"correction": correction, "eps": 0.0}
    close(reference.pd_loss(*THREE, **options), loss, 1e-7)
    close(reference.pd_loss(*THREE, form="neg", **options), -math.sqrt(squared))
    close(reference.pd_loss(*THREE, form="inverse", **options), 1 / math.sqrt(squared))
    assert -math.log(math.sqrt(squared)) + math.log(2) / 2 == pytest.approx(loss, abs=1e-7)


def test_plain_decidability_of_three_samples() -> None:
    close(reference.decidability(f64([0.6, 1, 1]), f64([0.8, 0, 0])), math.sqrt(4.05))
    close(reference.decidability(f64([0.8, 0, 0]), f64([0.6, 1, 1])), -math.sqrt(4.05))


def test_pd_objective_and_slopes_of_four_rows_of_scores() -> None:
    scores = f64([[0.9, 0.1, -0.2], [0, 0.7, 0.2], [0.3, -0.1, 0.8], [0.6, 0.2, 0.1]]).requires_grad_()
    genuine = torch.zeros(4, 3, dtype=torch.bool)
    genuine[range(4), [0, 1, 2, 0]] = True
    loss = decidability_objective(
        scores[genuine], scores[~genuine], form="neg_log", correction=0, min_gap=0.01, eps=0.0
    )
    close(loss, -1.2570681441, 1e-10)
    (slopes,) = torch.autograd.grad(loss, scores)
    close(slopes[0], [0.64657878, 0.26993095, -0.7470182], 1e-8)


def test_min_gap_continues_as_the_tangent() -> None:
    x, p = f64([[0, 1]]), f64([[0, 1], [1, 0]])
    swapped = reference.pd_loss(x, torch.tensor([1]), p, min_gap=0.01, eps=1.0)  # gap -1, no variance
    close(swapped, -math.log(0.01) + 1.01 / 0.01)
    # Value and slope meet at min_gap.
    for gap in (0.01 - 1e-9, 0.01 + 1e-9):
        angle = f64(math.asin(gap)).requires_grad_()
        row = torch.stack((torch.zeros_like(angle), angle.sin(), angle.cos()))[None]
        loss = reference.pd_loss(row, torch.tensor([1]), torch.eye(3, dtype=torch.float64)[:2], eps=1.0)
        close(loss, -math.log(0.01), 1e-6)
        (slope,) = torch.autograd.grad(loss, angle)
        close(slope, -100 * math.cos(angle.item()), 1e-4)


def test_decidability_loss_of_three_samples() -> None:
    # Pairs: (0, 2) of class 0 with cosine .6; (0, 1) .8 and (1, 2) 0 of different classes.
    x, y, _ = THREE
    close(reference.decidability_loss(x, y, eps=0.0), -0.2 / math.sqrt(0.16 / 2))


def test_field_of_two_points() -> None:
    x = f64([[2, 0], [0, 7]])  # at distance sqrt 2
    same, different = torch.tensor([4, 4]), torch.tensor([0, 1])
    raw: dict[str, Any] = {"unit_depth": False, "reduction": "sum", "alpha": 2.0}
    close(reference.potential_field_loss(x, same, delta_att=1.0, **raw), -2 * 0.5)
    close(reference.potential_field_loss(x, same, delta_att=2.0, **raw), -2 * 0.25)
    close(reference.potential_field_loss(x, different, delta_rep=1.0, **raw), 2 * 1.0)
    close(reference.potential_field_loss(x, different, delta_rep=2.0, **raw), 2 * 0.5)
    close(reference.potential_field_loss(x, same, delta_att=0.5, alpha=2.0), -0.125)
    close(reference.potential_field_loss(x, different, delta_rep=0.5, alpha=2.0), 1.0)


def test_field_of_duplicates_stops_at_d_min() -> None:
    x = f64([[1, 0], [3, 0]]).requires_grad_()
    energy = reference.potential_field_loss(x, torch.tensor([0, 1]), unit_depth=False, reduction="sum", d_min=0.1)
    close(energy.detach(), 2e3)
    close(torch.autograd.grad(energy, x)[0], [[0, 0], [0, 0]])


def test_force_at_a_point() -> None:
    point, source = f64([[0.0, 0.5]]), f64([[0.0, 0.0]])
    options: dict[str, Any] = {"alpha": 3.0, "delta_att": 0.2, "delta_rep": 0.7, "normalize": False}
    label = torch.tensor([0])
    potential, force = reference.potential_field(point, label, source, label, unit_depth=False, **options)
    close(potential, [-8.0])
    close(force, [[0.0, -48.0]])
    potential, force = reference.potential_field(point, label, source, label + 1, **options)
    close(potential, [0.7**3 * 8])
    close(force, [[0.0, 0.7**3 * 48]])


def test_odba_penalty_of_axes() -> None:
    x, atoms = f64([[2, 0], [3, 4]]), f64([[1, 0], [0, 3]])  # squares 1, 0 and .36, .64
    close(reference.odba_penalty(x, atoms), 0.5)
    close(reference.odba_penalty(x, atoms, reduction="sum"), 2.0)
    close(reference.odba_penalty(x, atoms, active=torch.tensor([True, False])), 0.68)
    close(reference.odba_penalty(x, atoms, prior=f64([0.75, 0.25])), (0.75 * 1.36 + 0.25 * 0.64) / 2)
    close(reference.odba_penalty(x, atoms, prior=f64([0.75, 0.25]), active=torch.tensor([False, True])), 0.08)
    close(reference.odba_penalty(x, atoms, active=torch.tensor([False, False])), 0.0)


def test_symmetric_kl_of_opposite_views() -> None:
    # Scores (1, 0) and (0, 1): both divergences are (p - q)(1 - 0) with p = e / (1 + e).
    p = math.e / (1 + math.e)
    first, second, proxies = f64([[1, 0]]), f64([[0, 1]]), f64([[2, 0], [0, 3]])
    close(reference.symmetric_kl_loss(first, second, proxies, temperature=1.0), p - (1 - p))
    close(reference.symmetric_kl_loss(first, first, proxies, temperature=1.0), 0.0)


AXES = f64([[5.0, 0.0]]), torch.tensor([0]), f64([[2.0, 0.0], [0.0, 1.0]])


def test_softmax_family_on_axes() -> None:
    close(reference.normalized_softmax_loss(*AXES, scale=2.0), math.log1p(math.exp(-2)))
    close(reference.proxy_nca_loss(*AXES, scale=2.0), math.log1p(math.exp(-2)))
    close(reference.proxy_nca_loss(*AXES, scale=2.0, include_positive=False), -2.0)
    close(reference.cosface_loss(*AXES, scale=2.0, margin=0.25), math.log1p(math.exp(-1.5)))
    close(reference.arcface_loss(*AXES, scale=2.0, margin=0.5), math.log1p(math.exp(-2 * math.cos(0.5))), 1e-7)


def test_worst_sample_keeps_its_loss_and_gradient() -> None:
    x = f64([[0.0, 1.0]]).requires_grad_()
    loss = reference.normalized_softmax_loss(x, torch.tensor([0]), AXES[2], scale=1000.0)
    close(loss.detach(), 1000.0)
    (gradient,) = torch.autograd.grad(loss, x)
    close(gradient, [[-1000.0, 0.0]])


def test_arcface_beyond_the_turning_point() -> None:
    x, y, p = f64([[-1.0, 0.0]]), torch.tensor([0]), f64([[1.0, 0.0], [0.0, 1.0]])
    close(reference.arcface_loss(x, y, p, scale=1.0, margin=0.5), math.log1p(math.exp(1 + 0.5 * math.sin(0.5))))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cosine", [1.0, -1.0])
def test_arcface_slope_is_finite_where_the_sine_vanishes(dtype: torch.dtype, cosine: float) -> None:
    s = torch.tensor(cosine, dtype=dtype, requires_grad=True)
    (slope,) = torch.autograd.grad(add_angle(s, 0.5), s)
    steepest = 2 * math.sin(0.5) / math.sqrt(torch.finfo(dtype).eps)
    assert slope.item() == pytest.approx(math.cos(0.5) + steepest if cosine > 0 else 1.0)
    assert add_angle(s, 0.0 if cosine < 0 else 0.5).item() == pytest.approx(-1.0 if cosine < 0 else math.cos(0.5))


def test_arcface_slope_is_the_true_one() -> None:
    s = f64([-0.95, -0.5, 0.0, 0.7, 0.999]).requires_grad_()
    (slope,) = torch.autograd.grad(add_angle(s, 0.5).sum(), s)
    theta = s.detach().acos()
    expected = torch.where(theta < math.pi - 0.5, (theta + 0.5).sin() / theta.sin(), 1.0)
    torch.testing.assert_close(slope, expected, rtol=1e-12, atol=0)


def test_proxy_anchor_on_axes() -> None:
    # One sample on proxy 0: pull log(1 + e^(-2 .9)) over one present proxy, push 0 and log(1 + e^(2 .1)) over two.
    expected = math.log1p(math.exp(-1.8)) + math.log1p(math.exp(0.2)) / 2
    close(reference.proxy_anchor_loss(*AXES, alpha=2.0, margin=0.1), expected)


def test_soft_triple_on_axes() -> None:
    # Class scores: both centres of class 0 at cosine 1; class 1 at 0 and -1, softmax weights at gamma 1.
    centers = f64([[1, 0], [2, 0], [0, 1], [-1, 0]])
    other = -math.exp(-1) / (1 + math.exp(-1))
    cross_entropy = math.log1p(math.exp(2 * (other - (1 - 0.1))))
    spread = (math.sqrt(1e-5) + math.sqrt(2 + 1e-5)) / 4
    actual = reference.soft_triple_loss(
        AXES[0], AXES[1], centers, centers_per_class=2, scale=2.0, gamma=1.0, tau=0.5, margin=0.1
    )
    close(actual, cross_entropy + 0.5 * spread)


@pytest.mark.parametrize("scale", [18.1, 64.3])
def test_a_scale_keeps_its_digits(scale: float) -> None:
    x, proxies = torch.eye(2, 3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    labels = torch.arange(2)
    found = reference.normalized_softmax_loss(x, labels, proxies, scale=scale)
    assert float(found) == pytest.approx(math.log1p(2 * math.exp(-scale)), rel=1e-14)
