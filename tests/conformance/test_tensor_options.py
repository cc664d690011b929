"""Margins and scales as tensors: their shapes, what they are to a module, and gradients of learnable ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dmlkernels as dml
from dmlkernels import backends
from tests.conformance.spy import Spy
from tests.problem import make_problem

LOSSES = (dml.cosface_loss, dml.arcface_loss)
MODULES = (dml.CosFaceLoss, dml.ArcFaceLoss)
SCALED = (dml.NormalizedSoftmaxLoss, dml.ProxyNCALoss, *MODULES)
every_function = pytest.mark.parametrize("function", LOSSES, ids=lambda function: function.__name__)
every_module = pytest.mark.parametrize("build", MODULES, ids=lambda build: build.__name__)
B, C, D = 12, 5, 8


def plain() -> tuple[Tensor, Tensor, Tensor]:
    problem = make_problem("plain", torch.float32)
    return problem.embeddings, problem.labels, problem.proxies


def margins(*shape: int) -> Tensor:
    return 0.1 + 0.4 * torch.rand(shape, generator=torch.Generator().manual_seed(1))


def sub_center(num_classes: int, embedding_size: int, proxy_init: Tensor, **options: Any) -> Any:
    """SubCenterArcFaceLoss of the proxies and their opposites."""
    centers = torch.stack((proxy_init, -proxy_init), dim=1).flatten(0, 1)
    return dml.SubCenterArcFaceLoss(num_classes, embedding_size, centers_per_class=2, proxy_init=centers, **options)


@every_function
def test_shapes_of_a_margin(function: Any) -> None:
    x, labels, proxies = plain()
    of_tensor, of_number = (function(x, labels, proxies, margin=m, backend="torch") for m in (torch.tensor(0.25), 0.25))
    assert torch.equal(of_tensor, of_number)
    of_classes = margins(C)
    expected = function(x, labels, proxies, margin=of_classes[labels])
    for margin in (of_classes, of_classes[None], of_classes[labels][:, None], of_classes.double()):
        assert torch.equal(function(x, labels, proxies, margin=margin), expected)
    single = torch.stack(
        [function(x[i : i + 1], labels[i : i + 1], proxies, margin=of_classes[labels[i]].item()) for i in range(B)]
    )
    torch.testing.assert_close(expected, single.mean())


@every_function
@pytest.mark.parametrize("shape", [(4,), (1, 4), (B, C), (2, 1), (1, B), (1, 1, C), (0,)], ids=str)
def test_wrong_shapes_of_a_margin(function: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match=r"^margin: got shape .*, expected \(\) for all, \(12,\) for samples or \(1, 5\)"
    ):
        function(*plain(), margin=margins(*shape))


@every_function
def test_as_many_samples_as_classes_need_two_dimensions(function: Any) -> None:
    x, labels, proxies = plain()
    x, labels, margin = x[:C], labels.flip(0)[:C], margins(C)
    with pytest.raises(ValueError, match=r"expected \(5, 1\) for samples or \(1, 5\) for classes"):
        function(x, labels, proxies, margin=margin)
    of_classes, of_samples = (
        function(x, labels, proxies, margin=m, reduction="none") for m in (margin[None], margin[:, None])
    )
    assert torch.equal(of_classes, function(x, labels, proxies, margin=margin[labels][:, None], reduction="none"))
    assert not torch.equal(of_classes, of_samples)


@every_function
def test_margins_of_classes_with_several_proxies(function: Any, backend: str) -> None:
    problem = make_problem("unordered_proxies", torch.float32)
    given = {"proxy_labels": problem.proxy_labels, "backend": backend}
    found = function(problem.embeddings, problem.labels, problem.proxies, margin=margins(4), **given)
    assert found == function(problem.embeddings, problem.labels, problem.proxies, margin=margins(1, 4), **given)
    with pytest.raises(ValueError, match=r"^margin: got 2 values, expected one for each class .*; labels holds 2"):
        function(problem.embeddings, problem.labels, problem.proxies, margin=margins(2), **given)


@every_function
def test_margins_must_be_floats_beside_the_embeddings(function: Any) -> None:
    with pytest.raises(TypeError, match=r"^margin: got torch.int64, expected a floating type"):
        function(*plain(), margin=torch.tensor(1))
    with pytest.raises(ValueError, match=r"^margin: is on meta, expected cpu where embeddings are"):
        function(*plain(), margin=margins(C).to("meta"))


@every_module
def test_learnable_margins(build: Any) -> None:
    x, labels, _ = plain()
    module = build(C, D, margin=margins(C), learnable_margin=True)
    assert isinstance(module.margin, nn.Parameter) and set(module.state_dict()) == {"proxies", "margin"}
    optimiser = torch.optim.SGD(module.param_groups(lr=0.1))
    assert [group["lr"] for group in optimiser.param_groups] == [10.0, 0.1]
    before = module.margin.detach().clone()
    module(x, labels).backward()
    optimiser.step()
    assert (module.margin < before).all()  # a smaller margin is a smaller loss
    assert build(C, D, learnable_margin=True).margin.shape == ()
    shared = nn.Parameter(torch.tensor(0.2))
    assert build(C, D, margin=shared).margin is shared
    assert "margin=learnable (5,)" in repr(module)


@every_module
def test_fixed_margins_of_classes(build: Any) -> None:
    x, labels, _ = plain()
    module = build(C, D, margin=margins(C))
    assert set(module.state_dict()) == {"proxies", "margin"} and len(list(module.parameters())) == 1
    assert torch.equal(module(x, labels), type(module).function(x, labels, module.proxies, margin=margins(C)))
    assert torch.equal(
        module(x[:C], labels[:C]), type(module).function(x[:C], labels[:C], module.proxies, margin=margins(1, C))
    )
    assert module.double()(x.double(), labels).dtype == torch.float64
    assert len(module.param_groups(lr=0.1)) == 1
    other = build(C, D, margin=torch.zeros(C))
    other.load_state_dict(module.float().state_dict())
    assert torch.equal(other(x, labels), module(x, labels))


@every_module
def test_wrong_margins_raise_at_construction(build: Any) -> None:
    with pytest.raises(ValueError, match=r"^margin: got shape \(4,\), expected \(\) or \(5,\)"):
        build(C, D, margin=margins(4))
    with pytest.raises(TypeError, match=r"^learnable_margin: got int, expected True or False"):
        build(C, D, learnable_margin=1)
    with pytest.raises(TypeError, match=r"^margin: got torch.int64, expected a floating type"):
        build(C, D, margin=torch.tensor(1))


@pytest.mark.parametrize(
    "build",
    [*SCALED, dml.AdaFaceLoss, dml.MagFaceLoss, dml.CurricularFaceLoss, dml.CircleLoss, sub_center],
    ids=lambda build: build.__name__,
)
def test_learnable_scales(build: Any) -> None:
    x, labels, proxies = plain()
    module = build(C, D, scale=8.0, learnable_scale=True, proxy_init=proxies)
    assert module.scale.shape == () and {"proxies", "scale"} <= set(module.state_dict())
    expected = build(C, D, scale=8.0, proxy_init=proxies)
    torch.testing.assert_close(module(x, labels), expected(x, labels))
    assert torch.equal(module.get_logits(x), expected.get_logits(x))
    step = 1e-2
    module(x, labels).backward()
    above, below = (build(C, D, scale=8.0 + h, proxy_init=proxies)(x, labels) for h in (step, -step))
    torch.testing.assert_close(module.scale.grad, (above - below) / (2 * step), rtol=1e-2, atol=1e-3)
    assert len(module.param_groups(lr=0.1)) == 2
    module.extend_classes(2)
    assert module.scale.shape == ()


def test_a_float_scale_is_as_ever() -> None:
    """It asks for the statistic that knows no values of rows."""
    x, labels, proxies = plain()
    with Spy() as spy:
        dml.normalized_softmax_loss(x, labels, proxies, scale=8.0)
        dml.normalized_softmax_loss(x, labels, proxies, scale=torch.tensor(8.0))
    assert {pairs.statistic for pairs in spy.pairs} == {"logsumexp", "row_logsumexp"}


def test_scales_alone_ask_for_no_second_pass(backend: str) -> None:
    """Their gradient is in the statistics."""
    if not backends.get(backend).supports("row_logsumexp"):
        pytest.skip("another backend would be taken")
    problem = make_problem("plain").frozen("embeddings", "proxies")
    given = (problem.embeddings, problem.labels, problem.proxies)
    expected = dml.cosface_loss(
        *(x if x is problem.labels else x.clone().requires_grad_() for x in given), scale=problem.scale
    )
    value = dml.cosface_loss(*given, scale=problem.scale, backend=backend)
    with Spy() as spy:
        (found,) = torch.autograd.grad(value, problem.scale)
    torch.testing.assert_close(found, torch.autograd.grad(expected, problem.scale)[0], rtol=1e-12, atol=0)
    assert spy.gradients_of_pairs == [(False, False, True)]


def test_margins_of_classes_in_circle_loss() -> None:
    x, labels, proxies = plain()
    module = dml.CircleLoss(C, D, margin=margins(C), learnable_margin=True, proxy_init=proxies)
    assert len(module.param_groups(lr=0.1)) == 2
    value = module(x, labels)
    value.backward()
    single = [
        dml.circle_loss(x[i : i + 1], labels[i : i + 1], proxies, margin=module.margin[labels[i]].item())
        for i in range(B)
    ]
    torch.testing.assert_close(value, torch.stack(single).mean())
    assert module.margin.grad.isfinite().all() and module.margin.grad.any()
    with pytest.raises(ValueError, match=r"^margin: got 2.0, expected a number of at most 1"):
        dml.circle_loss(x, labels, proxies, margin=2.0)
