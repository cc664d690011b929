"""The case table is what it says, and the reference survives all of it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from dmlkernels import reference
from dmlkernels.reference._common import classes_of, cosines, same_class
from tests.cases import CASES, ERROR_CASES, IGNORED, SMALL_CASES, Case, make_inputs

every_case = pytest.mark.parametrize("case", CASES, ids=str)


def named(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def scores_of(case: Case) -> tuple[Tensor, Tensor]:
    """Cosines, and which are genuine, of the samples that take part."""
    x, y, p, q = make_inputs(case, torch.float64)
    keep = y != IGNORED
    return cosines(x[keep], p), same_class(y[keep], classes_of(p, q))


@every_case
def test_shapes_dtypes_and_repeatability(case: Case) -> None:
    x, y, p, q = make_inputs(case, torch.float32, seed=1)
    assert x.shape == (case.batch, case.dim) and p.shape == (case.num_proxies, case.dim)
    assert x.dtype == p.dtype == torch.float32 and y.dtype == case.label_dtype and y.shape == (case.batch,)
    assert q is None or q.shape == (case.num_proxies,)
    assert len(set(classes_of(p, q).tolist())) == case.num_classes
    assert x.isfinite().all() and p.isfinite().all()
    again = make_inputs(case, torch.float32, seed=1)
    assert torch.equal(x, again[0]) and torch.equal(p, again[2])
    assert not torch.equal(p, make_inputs(case, torch.float32, seed=2)[2])


@pytest.mark.parametrize("case", [case for case in CASES if case.fits_half], ids=str)
def test_half_precision_holds_the_inputs(case: Case) -> None:
    x, _, p, _ = make_inputs(case, torch.float16)
    assert x.isfinite().all() and p.isfinite().all()
    assert cosines(x.double(), p.double()).isfinite().all()


def test_table_holds_what_it_promises() -> None:
    assert {case.dim for case in SMALL_CASES}.issuperset({1, 3, 16, 17, 64})
    assert any(case.dim > 128 for case in CASES)
    assert sum(case.has_pairs for case in CASES) > len(CASES) / 2
    collapsed = cosines(*make_inputs(named("collapsed"), torch.float64)[::2])
    assert collapsed.min() > 0.9 and 0.94 < collapsed.mean() < 0.96
    scores, genuine = scores_of(named("inverted"))
    assert scores[genuine].mean() < scores[~genuine].mean()
    scores, genuine = scores_of(named("untrained"))
    assert (scores[genuine].mean() - scores[~genuine].mean()).abs() < 0.01
    scores, genuine = scores_of(named("on_proxies"))
    assert scores[genuine].max() > 1 - 1e-12 and scores[~genuine].max() > 1 - 1e-12
    scores, genuine = scores_of(named("clustered"))
    distance = (2 - 2 * scores).sqrt()
    assert (distance[genuine] > 0.2).any() and (distance[~genuine] < 0.2).any()
    assert scores[genuine].mean() > 0.9
    own_column = scores_of(named("late_positives"))[1].any(0)
    assert not own_column[:128].any() and own_column.any()
    x, *_ = make_inputs(named("duplicates"), torch.float64)
    assert torch.equal(x[0], x[5])


@pytest.mark.parametrize("name", ["sliced", "transposed", "offset", "expanded"])
def test_layouts_are_not_contiguous_and_survive_requires_grad(name: str) -> None:
    x, y, p, _ = make_inputs(named(name), torch.float64)
    assert not x.is_contiguous()
    strides = x.stride()
    (gradient,) = torch.autograd.grad(reference.pd_loss(x.requires_grad_(), y, p), x)
    assert x.stride() == strides
    copy = x.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
    (expected,) = torch.autograd.grad(reference.pd_loss(copy, y, p), copy)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-14)


def _soft_triple(x: Tensor, y: Tensor, p: Tensor, proxy_labels: Tensor | None) -> Tensor:
    centers = torch.stack((p, p.flip(1)), 1).flatten(0, 1)  # two a class
    return reference.soft_triple_loss(x, y, centers, centers_per_class=2)


def _fused(x: Tensor, y: Tensor, p: Tensor, proxy_labels: Tensor | None) -> Tensor:
    atoms = p.detach()[:3]
    return reference.fused_objective(x, y, p, atoms, field_weight=0.5, odba_weight=2.0, proxy_labels=proxy_labels)[0]


LOSSES: dict[str, Callable[..., Tensor]] = {
    "pd": reference.pd_loss,
    "field": reference.potential_field_loss,
    "softmax": reference.normalized_softmax_loss,
    "nca": partial(reference.proxy_nca_loss, include_positive=False),
    "cosface": reference.cosface_loss,
    "arcface": reference.arcface_loss,
    "anchor": reference.proxy_anchor_loss,
    "fused": _fused,
    "soft_triple": _soft_triple,
    "decidability": lambda x, y, p, **_: reference.decidability_loss(x, y),
    "odba": lambda x, y, p, **_: reference.odba_penalty(x, p),
    "symmetric_kl": lambda x, y, p, **_: reference.symmetric_kl_loss(x, x.flip(0), p, temperature=0.1),
}


def applies(loss: str, case: Case) -> bool:
    return {"decidability": case.has_pairs, "soft_triple": case.classes_in_order}.get(loss, True)


@pytest.mark.parametrize(
    ("loss", "case"), [(loss, case) for loss in LOSSES for case in CASES if applies(loss, case)], ids=str
)
def test_reference_is_finite_with_finite_gradients(loss: str, case: Case) -> None:
    x, y, p, q = make_inputs(case, torch.float64)
    x.requires_grad_()
    p.requires_grad_()
    value = LOSSES[loss](x, y, p, proxy_labels=q)
    assert value.isfinite()
    gradients = torch.autograd.grad(value, (x, p), allow_unused=True)
    for gradient, rows in zip(gradients, (x, p), strict=True):
        if gradient is not None:
            assert gradient.isfinite().all()
            assert gradient[rows.eq(0).all(1)].eq(0).all()
    if loss not in ("odba", "symmetric_kl"):
        assert gradients[0][y.long() == IGNORED].eq(0).all()


@pytest.mark.parametrize("case", ERROR_CASES, ids=str)
def test_error_cases_say_what_is_wrong(case: Case) -> None:
    x, y, p, q = make_inputs(case, torch.float64)
    with pytest.raises(ValueError, match=case.error):
        reference.pd_loss(x, y, p, proxy_labels=q)


@pytest.mark.parametrize(
    ("labels", "message"),
    [([1, 1, 1], "impostor set is empty"), ([0, 1, 2], "genuine set is empty"), ([-100] * 3, "genuine set is empty")],
)
def test_decidability_loss_says_which_set_is_empty(labels: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reference.decidability_loss(torch.randn(3, 4), torch.tensor(labels))


@pytest.mark.parametrize(
    ("loss", "option"),
    [
        (reference.pd_loss, {"form": "log"}),
        (reference.potential_field_loss, {"reduction": "none"}),
        (reference.normalized_softmax_loss, {"reduction": "average"}),
    ],
)
def test_unknown_options_are_errors(loss: Callable[..., Tensor], option: dict[str, Any]) -> None:
    x, y, p, _ = make_inputs(named("plain"), torch.float64)
    with pytest.raises(ValueError, match=next(iter(option))):
        loss(x, y, p, **option)
