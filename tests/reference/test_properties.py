"""What must not change a loss, what must, and how the losses relate."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dmlkernels import reference
from tests.reference.data import LABELS, UNORDERED, normal, problem

Loss = Callable[..., Tensor]
_FIELD: dict[str, Any] = {"delta_att": 0.6, "delta_rep": 1.1}


def _fused(x: Tensor, y: Tensor, p: Tensor, **options: Any) -> Tensor:
    return reference.fused_objective(x, y, p, field_weight=0.5, **_FIELD, **options)[0]


LOSSES: dict[str, Loss] = {
    "pd": reference.pd_loss,
    "field": partial(reference.potential_field_loss, **_FIELD),
    "softmax": reference.normalized_softmax_loss,
    "nca": partial(reference.proxy_nca_loss, include_positive=False),
    "cosface": reference.cosface_loss,
    "arcface": reference.arcface_loss,
    "anchor": reference.proxy_anchor_loss,
    "fused": _fused,
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
Q = torch.tensor(UNORDERED)


def close(actual: Tensor, expected: Tensor | float) -> None:
    expected = torch.as_tensor(expected, dtype=actual.dtype)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


def rotation(dim: int) -> Tensor:
    return torch.linalg.qr(normal(dim, dim, seed=77)).Q


@every_loss
def test_scale_of_any_row_does_not_matter(loss: Loss) -> None:
    x, y, p = problem(0, UNORDERED)
    scales = normal(7, 1, seed=5).exp() * 100
    close(loss(x * scales, y, p * scales, proxy_labels=Q), loss(x, y, p, proxy_labels=Q))


@every_loss
def test_order_of_samples_and_proxies_does_not_matter(loss: Loss) -> None:
    x, y, p = problem(0, UNORDERED)
    i, j = torch.tensor([3, 0, 6, 2, 1, 5, 4]), torch.tensor([6, 5, 0, 1, 3, 2, 4])
    close(loss(x[i], y[i], p[j], proxy_labels=Q[j]), loss(x, y, p, proxy_labels=Q))


@every_loss
def test_names_of_classes_do_not_matter(loss: Loss) -> None:
    x, y, p = problem(0, UNORDERED)
    names = torch.tensor([10**12, -7, 3, 8, 0])
    renamed = torch.where(y == -100, y, names[y.clamp_min(0)])
    close(loss(x, renamed, p, proxy_labels=names[Q]), loss(x, y, p, proxy_labels=Q))
    renamed = torch.where(y == -100, -1, y)
    close(loss(x, renamed, p, proxy_labels=Q, ignore_index=-1), loss(x, y, p, proxy_labels=Q))


@every_loss
def test_rotation_does_not_matter(loss: Loss) -> None:
    x, y, p = problem(0, UNORDERED)
    close(loss(x @ rotation(4), y, p @ rotation(4), proxy_labels=Q), loss(x, y, p, proxy_labels=Q))


@every_loss
def test_ignored_rows_are_as_good_as_absent(loss: Loss) -> None:
    x, y, p = problem(0, UNORDERED)
    x = x.requires_grad_()
    kept = loss(x, y, p, proxy_labels=Q)
    close(kept, loss(x[y != -100], y[y != -100], p, proxy_labels=Q))
    (gradient,) = torch.autograd.grad(kept, x)
    assert gradient[LABELS.index(-100)].eq(0).all()
    assert gradient.ne(0).any()


@every_loss
def test_default_proxy_labels_count_up(loss: Loss) -> None:
    x, y, p = problem(0)
    close(loss(x, y, p), loss(x, y, p, proxy_labels=torch.arange(5)))


@every_loss
def test_zero_rows_get_no_gradient(loss: Loss) -> None:
    x, y, p = problem(0, UNORDERED)
    x[0], p[1] = 0, 0
    x.requires_grad_(), p.requires_grad_()
    grad_x, grad_p = torch.autograd.grad(loss(x, y, p, proxy_labels=Q), (x, p))
    assert grad_x[0].eq(0).all() and grad_p[1].eq(0).all()
    assert grad_x.isfinite().all() and grad_p.isfinite().all()


@every_loss
def test_nan_gives_nan(loss: Loss) -> None:
    x, y, p = problem(0, UNORDERED)
    for bad in (torch.nan, torch.inf):
        spoilt = x.clone()
        spoilt[1, 2] = bad
        assert loss(spoilt, y, p, proxy_labels=Q).isnan()


@every_loss
def test_dtype_is_the_wider_one(loss: Loss) -> None:
    x, y, p = problem(0, UNORDERED)
    assert loss(x, y, p, proxy_labels=Q).dtype == torch.float64
    assert loss(x.float(), y, p.float(), proxy_labels=Q).dtype == torch.float32
    assert loss(x.half(), y, p.float(), proxy_labels=Q).dtype == torch.float32


@pytest.mark.parametrize("form", ["neg_log", "neg", "inverse"])
def test_temperature_cancels_without_eps(form: str) -> None:
    p = normal(5, 4, seed=1)
    y = torch.tensor([0, 1, 2, 3, 4, 0])
    x = p[y] + normal(6, 4)
    expected = reference.pd_loss(x, y, p, form=form, eps=0.0)
    close(reference.pd_loss(x, y, p, form=form, eps=0.0, temperature=0.07), expected)
    assert not torch.isclose(reference.pd_loss(x, y, p, form=form, eps=1e-2, temperature=0.07), expected, rtol=1e-8)


def test_decidability_loss_is_invariant() -> None:
    x, y, _ = problem(0)
    expected = reference.decidability_loss(x, y)
    close(reference.decidability_loss(x * normal(7, 1, seed=2).exp(), y), expected)
    close(reference.decidability_loss(x.flip(0) @ rotation(4), y.flip(0)), expected)
    close(reference.decidability_loss(x[y >= 0], y[y >= 0] * 13 - 5), expected)


def test_inverted_order_is_not_rewarded() -> None:
    p = torch.eye(4, dtype=torch.float64)
    y = torch.arange(4)
    towards, away = p[y] + 0.1 * normal(4, 4), -p[y] + 0.1 * normal(4, 4)
    for form in ("neg_log", "neg"):
        assert reference.pd_loss(away, y, p, form=form) > reference.pd_loss(towards, y, p, form=form)


def test_softmax_family_relations() -> None:
    x, y, p = problem(0, UNORDERED)
    softmax = reference.normalized_softmax_loss(x, y, p, scale=9.0, proxy_labels=Q)
    close(reference.proxy_nca_loss(x, y, p, scale=9.0, proxy_labels=Q), softmax)
    close(reference.cosface_loss(x, y, p, scale=9.0, margin=0.0, proxy_labels=Q), softmax)
    close(reference.arcface_loss(x, y, p, scale=9.0, margin=0.0, proxy_labels=Q), softmax)
    assert reference.cosface_loss(x, y, p, scale=9.0, proxy_labels=Q) > softmax
    assert reference.arcface_loss(x, y, p, scale=9.0, proxy_labels=Q) > softmax
    assert reference.proxy_nca_loss(x, y, p, scale=9.0, include_positive=False, proxy_labels=Q) < softmax


def test_normalised_softmax_is_cross_entropy_of_scaled_cosines() -> None:
    x, y, p = problem(0)
    logits = 20 * F.normalize(x, dim=1) @ F.normalize(p, dim=1).T
    close(reference.normalized_softmax_loss(x, y, p), F.cross_entropy(logits, y, ignore_index=-100))


def test_soft_triple_with_one_centre_is_the_normalised_softmax() -> None:
    x, y, p = problem(0)
    expected = reference.normalized_softmax_loss(x, y, p)
    close(reference.soft_triple_loss(x, y, p, centers_per_class=1, margin=0.0), expected)
    same_centres = p.repeat_interleave(3, 0)
    close(reference.soft_triple_loss(x, y, same_centres, centers_per_class=3, margin=0.0, tau=0.0), expected)


def test_one_class_is_certain() -> None:
    x, y, p = normal(3, 4), torch.zeros(3, dtype=torch.int64), normal(1, 4, seed=1).requires_grad_()
    loss = reference.normalized_softmax_loss(x, y, p)
    close(loss.detach(), 0.0)
    close(torch.autograd.grad(loss, p)[0], torch.zeros(1, 4, dtype=torch.float64))
    with pytest.raises(ValueError, match="impostor set is empty"):
        reference.proxy_nca_loss(x, y, p, include_positive=False)


def test_symmetric_kl_is_a_symmetric_divergence() -> None:
    x, v, p = normal(6, 4), normal(6, 4, seed=1), normal(5, 4, seed=2)
    forth = reference.symmetric_kl_loss(x, v, p, temperature=0.1)
    close(reference.symmetric_kl_loss(v, x, p, temperature=0.1), forth)
    close(reference.symmetric_kl_loss(x, 3 * x, p, temperature=0.1), 0.0)
    assert forth > 0
    close(reference.symmetric_kl_loss(x, v, p, temperature=0.1, detach_targets=False, detach_proxies=False), forth)
    unit_p = F.normalize(p, dim=1)
    logits, others = (F.normalize(rows, dim=1) @ unit_p.T / 0.1 for rows in (x, v))
    difference = logits.softmax(1) - others.softmax(1)
    close((difference * (logits - others)).sum() / 12, forth)  # the normalisers cancel


def test_odba_is_a_frobenius_norm() -> None:
    x, atoms = normal(6, 5), normal(3, 5, seed=1)
    product = F.normalize(x, dim=1) @ F.normalize(atoms, dim=1).T
    close(reference.odba_penalty(x, atoms), torch.linalg.matrix_norm(product) ** 2 / 18)
    close(reference.odba_penalty(-2 * x, atoms), reference.odba_penalty(x, 3 * atoms))
    close(
        reference.odba_penalty(x, atoms, prior=torch.full((3,), 1 / 3)).float(),
        reference.odba_penalty(x, atoms).float(),
    )


def test_fused_parts_not_asked_for_are_zero() -> None:
    x, y, p = problem(0)
    x.requires_grad_()
    total, parts = reference.fused_objective(x, y, p)
    close(total.detach(), reference.pd_loss(x, y, p).detach())
    assert sorted(parts) == ["field", "odba", "pd"]
    assert parts["field"] == 0 and parts["odba"] == 0
    assert not any(part.requires_grad for part in parts.values())
    with pytest.raises(ValueError, match="atoms: got None"):
        reference.fused_objective(x, y, p, odba_weight=2.0)


def test_fused_gradient_is_the_sum_of_the_gradients() -> None:
    x, y, p = problem(0)
    x, p, atoms = x.requires_grad_(), p.requires_grad_(), normal(3, 4, seed=4)
    total, _ = reference.fused_objective(x, y, p, atoms, pd_weight=0.5, field_weight=2.0, odba_weight=3.0, **_FIELD)
    apart = (
        0.5 * reference.pd_loss(x, y, p)
        + 2 * reference.potential_field_loss(x, y, p, **_FIELD)
        + 3 * reference.odba_penalty(x[y >= 0], atoms)
    )
    for actual, expected in zip(torch.autograd.grad(total, (x, p)), torch.autograd.grad(apart, (x, p)), strict=True):
        close(actual, expected)
