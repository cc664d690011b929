"""Properties of the potential field."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dmlkernels import reference
from tests.reference.data import UNORDERED, normal, problem


def clusters(radius: float) -> tuple[Tensor, Tensor]:
    """Three classes of four points each about an axis, all same-class distances at most 2 * radius."""
    axes = torch.eye(3, 6, dtype=torch.float64).repeat_interleave(4, 0)
    noise = normal(12, 6, seed=3)
    noise -= (noise * axes).sum(1, keepdim=True) * axes
    return axes + radius * F.normalize(noise, dim=1), torch.arange(3).repeat_interleave(4)


@pytest.mark.parametrize("unit_depth", [True, False])
def test_global_minimum(unit_depth: bool) -> None:
    points, labels = clusters(0.09)
    points.requires_grad_()
    energy = reference.potential_field_loss(points, labels, reduction="sum", unit_depth=unit_depth)
    n_same, n_diff = 3 * 4 * 3, 12 * 8
    unit_energy = 1.0 if unit_depth else 0.2**-3
    torch.testing.assert_close(energy.item(), unit_energy * (n_diff - n_same), rtol=1e-12, atol=0)
    (gradient,) = torch.autograd.grad(energy, points)
    assert gradient.eq(0).all()
    for seed in range(5):
        worse = reference.potential_field_loss(
            points.detach() + 0.3 * normal(12, 6, seed=seed), labels, reduction="sum", unit_depth=unit_depth
        )
        assert worse > energy


def test_samples_and_proxies_are_points_alike() -> None:
    points, labels = clusters(0.5)
    together = reference.potential_field_loss(points, labels)
    odd = torch.arange(12) % 2 == 1
    apart = reference.potential_field_loss(points[odd], labels[odd], points[~odd], proxy_labels=labels[~odd])
    torch.testing.assert_close(apart, together, rtol=1e-12, atol=0)


def test_proxies_of_absent_classes_take_part() -> None:
    x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([0])
    proxies = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    energy = reference.potential_field_loss(x, y, proxies, reduction="sum", unit_depth=False)
    # Ordered pairs: the sample and its proxy flat in the well, four flat hills, and the coincident pair at d_min.
    assert energy.item() == pytest.approx(2 * (-(0.2**-3) + 4 * 0.2**-3 + 0.01**-3))


def test_forces_among_points_sum_to_zero() -> None:
    x, y, p = problem(0, UNORDERED)
    points, labels = torch.cat((x, p)), torch.cat((y, torch.tensor(UNORDERED)))
    _, force = reference.potential_field(points, labels, points, labels, alpha=2.0, delta_att=0.5, delta_rep=1.3)
    assert force.abs().max() > 0.1
    torch.testing.assert_close(force.sum(0), torch.zeros(4, dtype=force.dtype), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("same", "delta_att", "delta_rep"), [(True, 0.3, 1.0), (False, 1.0, 0.9)])
@pytest.mark.parametrize("alpha", [1.0, 3.0])
def test_force_law(same: bool, delta_att: float, delta_rep: float, alpha: float) -> None:
    """|d psi / dd| = alpha d^-(alpha + 1) where it acts, exactly 0 elsewhere."""
    distance = torch.tensor([0.05, 0.2, 0.29, 0.31, 0.5, 0.89, 0.91, 2.0], dtype=torch.float64)
    points = torch.stack((distance, torch.zeros_like(distance)), 1)
    labels = torch.zeros(8, dtype=torch.int64)
    _, force = reference.potential_field(
        points, labels, torch.zeros(1, 2, dtype=torch.float64), torch.tensor([0 if same else 1]),
        alpha=alpha, delta_att=delta_att, delta_rep=delta_rep, unit_depth=False, normalize=False,
    )  # fmt: skip
    acts = distance > delta_att if same else distance < delta_rep
    expected = torch.where(acts, (-1 if same else 1) * alpha * distance ** -(alpha + 1), 0)
    torch.testing.assert_close(force[:, 0], expected, rtol=1e-12, atol=0)
    assert force[:, 1].eq(0).all()


def test_unit_depth_keeps_the_direction_of_the_gradient() -> None:
    x, y, p = problem(0, UNORDERED)
    x.requires_grad_()
    options: dict[str, Any] = {"proxy_labels": torch.tensor(UNORDERED), "delta_att": 0.7, "delta_rep": 0.7}
    raw, scaled = (
        torch.autograd.grad(reference.potential_field_loss(x, y, p, unit_depth=depth, **options), x)[0]
        for depth in (False, True)
    )
    torch.testing.assert_close(scaled, 0.7**3 * raw, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("alpha", "delta", "far"), [(3.0, 0.2, 1.0), (1.0, 0.25, 1.0), (2.0, 0.1, 0.7)])
def test_a_point_holds_its_own_well(alpha: float, delta: float, far: float) -> None:
    """Against n points of its class, all at distance D on one side, while n < ((D - delta) / delta)^(alpha+1)."""
    bound = ((far - delta) / delta) ** (alpha + 1)
    for n, holds in ((math.ceil(bound) - 1, True), (math.floor(bound) + 1, False)):
        sources = torch.zeros(n + 1, 2, dtype=torch.float64)
        sources[1:, 0] = far
        edge = torch.tensor([[delta * (1 + 1e-9), 0.0]], dtype=torch.float64)
        _, force = reference.potential_field(
            edge, torch.tensor([0]), sources, torch.zeros(n + 1, dtype=torch.int64),
            alpha=alpha, delta_att=delta, delta_rep=delta, normalize=False,
        )  # fmt: skip
        assert (force[0, 0] < 0) == holds


def test_inputs_stay_as_they_are() -> None:
    x, y, p = problem(0, UNORDERED)
    before = x.clone()
    potential, force = reference.potential_field(x.requires_grad_(), y, p, torch.tensor(UNORDERED))
    assert not potential.requires_grad and not force.requires_grad
    assert torch.equal(x, before) and x.grad is None


def test_all_rows_ignored_leaves_the_proxies() -> None:
    x, ignored, p = normal(3, 4), torch.full((3,), -100), normal(5, 4, seed=1)
    alone = reference.potential_field_loss(p, torch.arange(5))
    torch.testing.assert_close(reference.potential_field_loss(x, ignored, p), alone, rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match="no points"):
        reference.potential_field_loss(x, ignored)
