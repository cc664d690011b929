"""Modules: the same numbers as their functions, options checked where they are written, state that survives."""

from __future__ import annotations

import copy
import io
import math
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dmlkernels as dml

CLASSES, DIM = 4, 8
LABELS = torch.tensor([0, 3, 1, -100, 2, 0])

Build = Callable[..., Any]


def fused(*sizes: int, **options: Any) -> dml.FusedObjective:
    dictionary = dml.BackgroundDictionary(3, sizes[1])
    dictionary.update(samples(seed=9))
    chosen = {"dictionary": dictionary, "field_weight": 0.5, "odba_weight": 2.0, **options}
    return dml.FusedObjective(*sizes, **chosen)


# How to build each module, and the function with the options that it stands for.
OWNERS: dict[str, Build] = {
    "pd": dml.PDLoss,
    "field": dml.PotentialFieldLoss,
    "anchor": dml.ProxyAnchorLoss,
    "nca": dml.ProxyNCALoss,
    "softmax": dml.NormalizedSoftmaxLoss,
    "cosface": dml.CosFaceLoss,
    "arcface": dml.ArcFaceLoss,
    "soft_triple": dml.SoftTripleLoss,
    "sub_center": dml.SubCenterArcFaceLoss,
    "circle": dml.CircleLoss,
    "magface": dml.MagFaceLoss,
    "fused": fused,
}
every_owner = pytest.mark.parametrize("build", OWNERS.values(), ids=OWNERS.keys())


def samples(seed: int = 0) -> Tensor:
    return torch.randn(len(LABELS), DIM, generator=torch.Generator().manual_seed(seed))


def made(build: Build, **options: Any) -> nn.Module:
    return build(CLASSES, DIM, generator=torch.Generator().manual_seed(0), **options)


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


X = samples()


@pytest.mark.parametrize(
    ("module", "function"),
    [
        (made(dml.PDLoss, form="neg"), lambda p: dml.pd_loss(X, LABELS, p, form="neg")),
        (
            made(dml.PDLoss, proxies_per_class=2),
            lambda p: dml.pd_loss(X, LABELS, p, proxy_labels=torch.arange(8) // 2),
        ),
        (
            made(dml.PotentialFieldLoss, alpha=2.0),
            lambda p: dml.potential_field_loss(X, LABELS, p, proxy_labels=torch.arange(60) // 15, alpha=2.0),
        ),
        (made(dml.ProxyAnchorLoss, margin=0.2), lambda p: dml.proxy_anchor_loss(X, LABELS, p, margin=0.2)),
        (
            made(dml.ProxyNCALoss, include_positive=False),
            lambda p: dml.proxy_nca_loss(X, LABELS, p, include_positive=False),
        ),
        (
            made(dml.NormalizedSoftmaxLoss, reduction="none"),
            lambda p: dml.normalized_softmax_loss(X, LABELS, p, reduction="none"),
        ),
        (made(dml.CosFaceLoss, scale=8.0), lambda p: dml.cosface_loss(X, LABELS, p, scale=8.0)),
        (made(dml.ArcFaceLoss, margin=0.1), lambda p: dml.arcface_loss(X, LABELS, p, margin=0.1)),
        (
            made(dml.SoftTripleLoss, centers_per_class=3),
            lambda p: dml.soft_triple_loss(X, LABELS, p, centers_per_class=3),
        ),
        (
            made(dml.SubCenterArcFaceLoss, centers_per_class=2),
            lambda p: dml.sub_center_arcface_loss(X, LABELS, p, centers_per_class=2),
        ),
        (made(dml.CircleLoss, margin=0.4), lambda p: dml.circle_loss(X, LABELS, p, margin=0.4)),
        (made(dml.MagFaceLoss, lower_norm=1.0), lambda p: dml.magface_loss(X, LABELS, p, lower_norm=1.0)),
        (made(dml.FusedObjective, pd_weight=2.0), lambda p: 2 * dml.pd_loss(X, LABELS, p)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_says_what_its_function_says(module: Any, function: Callable[[Tensor], Tensor]) -> None:
    value = module(X, LABELS)
    assert torch.equal(value, function(module.proxies))
    value.sum().backward()
    assert module.proxies.grad.isfinite().all() and module.proxies.grad.any()


def test_decidability_loss() -> None:
    module, labels = dml.DecidabilityLoss(form="neg_log", correction=1), LABELS % 2
    assert torch.equal(module(X, labels), dml.decidability_loss(X, labels, form="neg_log", correction=1))
    assert repr(module).startswith("DecidabilityLoss(form='neg_log', correction=1, min_gap=0.01")
    assert not list(module.parameters())


def test_sample_weights() -> None:
    weight = torch.rand(len(LABELS))
    for build in (dml.NormalizedSoftmaxLoss, dml.ProxyNCALoss, dml.CosFaceLoss, dml.ArcFaceLoss):
        module = made(build)
        expected = type(module).function(X, LABELS, module.proxies, sample_weight=weight)
        assert torch.equal(module(X, LABELS, sample_weight=weight), expected)
        with pytest.warns(DeprecationWarning, match=r"^sample_weight as the third"):
            assert torch.equal(module(X, LABELS, weight), expected)


def test_the_fused_objective_weighs_atoms_as_its_dictionary_does() -> None:
    dictionary = dml.BackgroundDictionary(3, DIM, use_prior=True)
    dictionary.update(samples(seed=9)[:1].repeat(20, 1) + samples(seed=8).repeat(4, 1)[:20] / 5)
    dictionary.update(samples(seed=9))
    module = made(fused, dictionary=dictionary)
    module(X, LABELS)
    expected = dictionary(X[LABELS >= 0]).detach()
    torch.testing.assert_close(module.parts["odba"], expected)
    assert not torch.isclose(expected, dml.odba_penalty(X[LABELS >= 0], dictionary.atoms), rtol=1e-3)
    with pytest.raises(ValueError, match=r"^dictionary: got one with reduction='sum', expected 'mean'"):
        made(fused, dictionary=dml.BackgroundDictionary(3, DIM, reduction="sum"))
    with pytest.raises(TypeError, match=r"^dictionary: got Tensor, expected a BackgroundDictionary"):
        made(fused, dictionary=torch.eye(DIM)[:3])


def test_parts_of_the_fused_objective() -> None:
    module = made(fused)
    total = module(X, LABELS)
    kept = X[LABELS >= 0]
    parts = {
        "pd": dml.pd_loss(X, LABELS, module.proxies),
        "field": dml.potential_field_loss(X, LABELS, module.proxies),
        "odba": module.dictionary(kept),
    }
    torch.testing.assert_close(module.parts, {name: part.detach() for name, part in parts.items()})
    torch.testing.assert_close(total, parts["pd"] + 0.5 * parts["field"] + 2 * parts["odba"])
    assert not any(part.requires_grad for part in module.parts.values())
    module.dictionary.update(X)  # between forward and backward
    total.backward()


@every_owner
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"foo": 1}, TypeError, "^foo: not an option of "),
        ({"backend": "fast"}, ValueError, "^backend: got 'fast'"),
        ({"ignore_index": None}, TypeError, "^ignore_index: got NoneType, expected an int"),
        ({"proxy_init": "zeros"}, ValueError, "^proxy_init: got 'zeros', expected 'random', 'class_mean' or a tensor"),
        ({"proxy_init": torch.zeros(3, 8)}, ValueError, r"^proxy_init: got shape \(3, 8\), expected \(\d+, 8\)"),
    ],
)
def test_wrong_options_raise_at_construction(
    build: Build, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        made(build, **options)


@pytest.mark.parametrize(
    ("build", "option", "value"),
    [
        (dml.PDLoss, "form", "log"),
        (dml.PDLoss, "temperature", 0.0),
        (dml.PDLoss, "correction", 2),
        (dml.PDLoss, "eps", math.nan),
        (dml.PotentialFieldLoss, "alpha", 0.0),
        (dml.PotentialFieldLoss, "reduction", "none"),
        (dml.PotentialFieldLoss, "d_min", math.inf),
        (dml.PotentialFieldLoss, "proxies_per_class", 0),
        (dml.ProxyAnchorLoss, "alpha", -1.0),
        (dml.ProxyNCALoss, "scale", 0.0),
        (dml.NormalizedSoftmaxLoss, "reduction", "average"),
        (dml.CosFaceLoss, "margin", math.inf),
        (dml.ArcFaceLoss, "margin", 4.0),
        (dml.SoftTripleLoss, "gamma", 0.0),
        (dml.SoftTripleLoss, "centers_per_class", 0),
        (fused, "delta_att", 0.0),
        (fused, "pd_weight", math.nan),
        (fused, "dictionary", None),
    ],
)
def test_wrong_values_raise_at_construction(build: Build, option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{option}: got "):
        made(build, **{option: value})


@every_owner
@pytest.mark.parametrize(("size", "error"), [(0, ValueError), (-1, ValueError), (2.5, TypeError), ("4", TypeError)])
def test_wrong_sizes_raise_at_construction(build: Build, size: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^num_classes: got "):
        build(size, DIM)


def test_wrong_options_of_the_loss_without_proxies() -> None:
    with pytest.raises(ValueError, match=r"^form: got 'log'"):
        dml.DecidabilityLoss(form="log")
    with pytest.raises(TypeError, match=r"^alpha: not an option of decidability_loss"):
        dml.DecidabilityLoss(alpha=1.0)


@every_owner
def test_state_dict(build: Build) -> None:
    first, second = made(build), build(CLASSES, DIM)
    assert not torch.equal(first.proxies, second.proxies)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    assert second.load_state_dict(torch.load(file, weights_only=True)) == ([], [])
    assert torch.equal(first(X, LABELS), second(X, LABELS))


@every_owner
def test_copies(build: Build) -> None:
    module = made(build)
    module(X, LABELS).sum().backward()
    module(X, LABELS)
    for same in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert same.proxies is not module.proxies
        assert torch.equal(same(X, LABELS), module(X, LABELS))
        assert repr(same) == repr(module)


@every_owner
def test_dtypes(build: Build) -> None:
    module = made(build)
    expected = module(X, LABELS)
    double = copy.deepcopy(module).double()
    assert double.proxies.dtype == torch.float64
    value = double(X.double(), LABELS)
    assert value.dtype == torch.float64
    torch.testing.assert_close(value.float(), expected, rtol=1e-4, atol=1e-4)
    half = copy.deepcopy(module).to(torch.bfloat16)
    assert half.proxies.dtype == torch.bfloat16 and half(X.bfloat16(), LABELS).dtype == torch.float32
    assert build(CLASSES, DIM, dtype=torch.float64).proxies.dtype == torch.float64
    assert build(CLASSES, DIM, device="meta", dtype=torch.float16).proxies.device.type == "meta"


@every_owner
def test_repr_shows_sizes_and_options(build: Build) -> None:
    module = made(build)
    assert f"num_classes={CLASSES}, embedding_size={DIM}" in repr(module)
    for name, value in module.options.items():
        assert f"{name}={value!r}" in repr(module)


@every_owner
def test_compiles_into_one_graph(build: Build, fresh_compiler: None) -> None:
    module = made(build)
    expected = module(X, LABELS)
    expected.backward()
    gradient = module.proxies.grad.clone()
    module.zero_grad()
    value = torch.compile(module, backend="aot_eager", fullgraph=True)(X, LABELS)
    value.backward()
    torch.testing.assert_close((value, module.proxies.grad), (expected, gradient))
