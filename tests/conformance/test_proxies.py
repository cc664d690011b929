"""How proxies start, what they learn from, and the warning when nobody trains them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import dmlkernels as dml
from tests.conformance.test_modules import CLASSES, DIM, LABELS, Build, every_owner, made, samples

Optimiser = Callable[[Any], torch.optim.Optimizer]


@every_owner
def test_random_proxies_are_unit_directions_from_the_generator(build: Build) -> None:
    first, second = made(build), made(build)
    assert torch.equal(first.proxies, second.proxies)
    norms = torch.linalg.vector_norm(first.proxies, dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms))
    assert first.proxies.requires_grad and first.proxies.is_leaf


@every_owner
def test_given_proxies_are_copied(build: Build) -> None:
    shape = made(build).proxies.shape
    given = torch.randn(shape)
    module = made(build, proxy_init=given)
    assert torch.equal(module.proxies, given) and module.proxies.data_ptr() != given.data_ptr()


@every_owner
def test_class_means(build: Build) -> None:
    embeddings, labels = samples(1), torch.tensor([0, 1, 2, 2, 0, 0])
    module = made(build, proxy_init="class_mean")
    with pytest.raises(RuntimeError, match="init_proxies_from"):
        module(samples(), LABELS)
    before = module.proxies.detach().clone().unflatten(0, (CLASSES, -1))
    with pytest.warns(UserWarning, match=r"^embeddings: 1 of 4 classes have none, so their proxies stay random"):
        module.init_proxies_from(embeddings, labels)
    after = module.proxies.detach().unflatten(0, (CLASSES, -1))
    assert module(samples(), LABELS).isfinite()
    assert torch.equal(after[3], before[3])  # no embedding has this class
    unit = F.normalize(embeddings)
    means = F.normalize(torch.stack([unit[labels == c].mean(0) for c in range(3)]))
    cosines = (after[:3] * means[:, None]).sum(2)
    if module.proxies_per_class == 1:
        torch.testing.assert_close(cosines, torch.ones_like(cosines))
    else:
        assert (cosines > 0.99).all() and (cosines < 1 - 1e-4).any()


@every_owner
def test_class_means_from_a_loader_are_the_same(build: Build) -> None:
    embeddings, labels = samples(1), torch.tensor([0, 1, 2, 3, 0, 0], dtype=torch.int32)
    whole, batches = made(build), made(build)
    torch.manual_seed(0)
    whole.init_proxies_from(embeddings, labels)
    torch.manual_seed(0)
    batches.init_proxies_from(zip(embeddings.split(4), labels.split(4), strict=True))
    torch.testing.assert_close(whole.proxies, batches.proxies)


def test_class_means_refuse() -> None:
    module = made(dml.PDLoss)
    with pytest.raises(ValueError, match=r"^labels: got None"):
        module.init_proxies_from(samples())
    with pytest.raises(ValueError, match=r"^labels: got 4, expected classes 0 to 3"):
        module.init_proxies_from(samples(), torch.tensor([0, 1, 2, 4, 0, 5]))
    with pytest.raises(ValueError, match=r"^embeddings: got 7 dimensions, expected 8"):
        module.init_proxies_from(samples()[:, :7], LABELS.abs() % 4)
    for bad in (torch.nan, torch.inf):
        spoilt = samples().index_fill(0, torch.tensor([2]), bad)
        with pytest.raises(ValueError, match=r"^embeddings: got NaN or infinity, expected finite numbers"):
            module.init_proxies_from(spoilt, LABELS.abs() % 4)
    for nothing in ([], [(samples()[:0], LABELS[:0])]):
        with pytest.raises(ValueError, match=r"^embeddings: got none, expected at least one"):
            module.init_proxies_from(nothing)


def test_class_means_are_awaited_until_they_come() -> None:
    """Neither an empty loader nor a checkpoint without proxies brings them."""
    module = made(dml.PDLoss, proxy_init="class_mean")
    with pytest.raises(ValueError, match="got none"):
        module.init_proxies_from([])
    module.load_state_dict({}, strict=False)
    torch.nn.ModuleDict({"loss": module}).load_state_dict({"proxies": torch.zeros(CLASSES, DIM)}, strict=False)
    with pytest.raises(RuntimeError, match="init_proxies_from"):
        module(samples(), LABELS)
    torch.nn.ModuleDict({"loss": module}).load_state_dict({"loss.proxies": torch.eye(CLASSES, DIM)})
    assert module(samples(), LABELS).isfinite()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_class_means_of_opposite_embeddings_leave_the_proxies(dtype: torch.dtype) -> None:
    module = made(dml.PDLoss).to(dtype)
    before = module.proxies.detach().clone()
    module.init_proxies_from(torch.stack((torch.eye(DIM)[0], -torch.eye(DIM)[0])), torch.tensor([1, 1]))
    assert torch.equal(module.proxies, before)


@pytest.mark.parametrize(("dtype", "scale"), [(torch.float32, 1e25), (torch.float32, 1e-9), (torch.float64, 1e200)])
@every_owner
def test_scale_is_no_matter_to_modules(build: Build, dtype: torch.dtype, scale: float) -> None:
    embeddings, labels = samples(1).to(dtype), LABELS.abs() % CLASSES
    plain, scaled = made(build).to(dtype), made(build).to(dtype)
    torch.manual_seed(0)
    plain.init_proxies_from(embeddings, labels)
    torch.manual_seed(0)
    scaled.init_proxies_from(embeddings * scale, labels)
    torch.testing.assert_close(scaled.proxies, plain.proxies)
    if hasattr(plain, "get_logits"):
        expected = plain.get_logits(embeddings)
        torch.testing.assert_close(plain.get_logits(embeddings * scale), expected)
        with torch.no_grad():
            scaled.proxies.mul_(scale)
        torch.testing.assert_close(scaled.get_logits(embeddings), expected)


def test_logits_are_not_rounded_under_autocast() -> None:
    module = dml.CosFaceLoss(CLASSES, DIM, scale=64.0)
    expected = module.get_logits(samples())
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(module.get_logits(samples()), expected, rtol=0, atol=0)


def test_zero_rows_are_constants_to_logits() -> None:
    embeddings = samples().index_fill(0, torch.tensor([1]), 0.0).requires_grad_()
    made(dml.NormalizedSoftmaxLoss).get_logits(embeddings).sum().backward()
    assert (embeddings.grad[1] == 0).all() and (embeddings.grad[0] != 0).any()


def test_loaded_proxies_are_no_longer_awaited() -> None:
    module = made(dml.PDLoss, proxy_init="class_mean")
    module.load_state_dict(made(dml.PDLoss).state_dict())
    assert module(samples(), LABELS).isfinite()


def test_proxies_that_did_not_load_are_awaited_still() -> None:
    module = made(dml.PDLoss, proxy_init="class_mean")
    with pytest.raises(RuntimeError, match="size mismatch"):
        module.load_state_dict(dml.PDLoss(CLASSES + 1, DIM).state_dict())
    with pytest.raises(RuntimeError, match="call init_proxies_from"):
        module(samples(), LABELS)


@every_owner
def test_param_groups(build: Build) -> None:
    module = made(build)
    (group,) = module.param_groups(1e-3)
    assert group["params"] == [module.proxies] and group["lr"] == pytest.approx(0.1) and group["weight_decay"] == 0
    assert module.param_groups(1e-3, proxy_lr_factor=1)[0]["lr"] == 1e-3
    before = module.proxies.detach().clone()
    optimiser = torch.optim.AdamW([{"params": [torch.nn.Parameter(torch.ones(1))]}, group], lr=1e-3, weight_decay=0.1)
    module(samples(), LABELS).backward()
    optimiser.step()
    assert not torch.equal(module.proxies, before)


def train(module: Any, optimiser: torch.optim.Optimizer | None, steps: int) -> list[str]:
    """Warnings of a loop that clears gradients after the forward pass, so that forward sees the last ones."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(steps):
            loss = module(samples(step), LABELS)
            if optimiser is not None:
                optimiser.zero_grad()
            loss.backward()
            if optimiser is not None:
                optimiser.step()
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("moment", ["before forward", "after forward", "after backward", "never"])
def test_forgotten_proxies_are_reported_whenever_gradients_are_zeroed(moment: str) -> None:
    module, backbone = made(dml.PDLoss), torch.nn.Linear(DIM, DIM)
    optimiser, messages = torch.optim.SGD(backbone.parameters(), 0.1), []
    for step in range(40):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if moment == "before forward":
                module.zero_grad()
            loss = module(backbone(samples(step)), LABELS)
            if moment == "after forward":
                module.zero_grad()
            loss.backward()
            optimiser.step()
            if moment == "after backward":
                module.zero_grad()
        messages += [str(warning.message) for warning in caught]
    assert len(messages) == 1 and "no optimiser has them" in messages[0]


def test_forward_passes_alone_are_not_reported() -> None:
    module = made(dml.PDLoss)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for step in range(40):
            module(samples(step), LABELS)


@every_owner
def test_forgotten_proxies_are_reported_once(build: Build) -> None:
    module = made(build)
    (message,) = train(module, None, 40)
    assert "proxies" in message and "param_groups" in message
    assert train(module, None, 40) == []


@pytest.mark.parametrize(
    "optimiser",
    [
        lambda p: torch.optim.SGD(p, 0.1),
        lambda p: torch.optim.SGD(p, 0.1, fused=True),
        lambda p: torch.optim.Adam(p, 0.1, foreach=True),
        lambda p: torch.optim.Adam(p, 0.1, foreach=False),
        lambda p: torch.optim.AdamW(p, 0.1, fused=True),
    ],
)
def test_trained_proxies_are_not_reported(optimiser: Optimiser) -> None:
    module = made(dml.PDLoss)
    assert train(module, optimiser(module.parameters()), 30) == []


def test_proxies_changed_behind_autograd_are_not_reported() -> None:
    module = made(dml.PDLoss)

    class Careless:
        def zero_grad(self) -> None: ...

        def step(self) -> None:
            module.proxies.data = module.proxies.data - 0.1 * module.proxies.grad

    assert train(module, Careless(), 30) == []  # type: ignore[arg-type]


def test_frozen_or_evaluated_proxies_are_not_reported() -> None:
    module = made(dml.PDLoss).requires_grad_(False)
    x = samples().requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(30):
            module(x, LABELS).backward()
        module = made(dml.PDLoss)
        module(x, LABELS).backward()
        module.eval()
        for _ in range(30):
            module(x, LABELS)


@every_owner
def test_long_accumulation_is_not_reported(build: Build) -> None:
    module = made(build)
    optimiser = torch.optim.SGD(module.param_groups(0.1), lr=0.1)
    start = module.proxies.detach().clone()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for step in range(40):
            module(samples(step), LABELS).backward()
    optimiser.step()
    assert not torch.equal(module.proxies, start)


def test_proxies_that_the_optimiser_lacks_are_reported_while_it_accumulates() -> None:
    module, backbone = made(dml.PDLoss), torch.nn.Linear(DIM, DIM)
    optimiser = torch.optim.SGD(backbone.parameters(), 0.1)

    def accumulate() -> None:
        for step in range(40):
            module(backbone(samples(step)), LABELS).backward()
            if step % 16 == 15:
                optimiser.step()

    with pytest.warns(UserWarning, match="no optimiser has them"):
        accumulate()


def _weight_normed(module: Any) -> Any:
    return torch.nn.utils.parametrizations.weight_norm(module, "proxies")


def _orthogonal(module: Any) -> Any:
    return torch.nn.utils.parametrizations.orthogonal(module, "proxies")


@pytest.mark.parametrize("parametrize", [_weight_normed, _orthogonal])
def test_computed_proxies_train_in_silence(parametrize: Callable[[Any], Any]) -> None:
    module = parametrize(made(dml.PDLoss))
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    before = module.proxies.detach().clone()
    assert train(module, optimiser, 30) == []
    assert not torch.equal(module.proxies, before)


def test_weight_normed_proxies_are_initialised() -> None:
    plain, module = made(dml.PDLoss), _weight_normed(made(dml.PDLoss))
    for owner in (plain, module):
        owner.init_proxies_from(samples(), LABELS.clamp_min(0))
    torch.testing.assert_close(module.proxies, plain.proxies)


@pytest.mark.parametrize("parametrize", [_weight_normed, _orthogonal])
def test_what_computed_proxies_are_computed_from_is_trained_and_loaded(parametrize: Callable[[Any], Any]) -> None:
    module = parametrize(made(dml.PDLoss))
    optimiser = torch.optim.AdamW(module.param_groups(1e-3), lr=1e-3)
    before = module.proxies.detach().clone()
    module(samples(), LABELS).backward()
    optimiser.step()
    assert not torch.equal(module.proxies, before)
    other = parametrize(made(dml.PDLoss, proxy_init="class_mean"))
    other.load_state_dict(module.state_dict())
    torch.testing.assert_close(other(samples(), LABELS), module(samples(), LABELS))


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_proxies_computed_by_a_hook_are_not_for_an_optimiser() -> None:
    module = torch.nn.utils.weight_norm(made(dml.PDLoss), "proxies")
    with pytest.raises(RuntimeError, match="computed from other parameters, give those to the optimiser"):
        module.param_groups(1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"proxy_init": np.zeros((CLASSES, DIM))},
        {"proxy_init": torch.ones(CLASSES, DIM, dtype=torch.int64)},
        {"proxy_init": torch.ones(CLASSES, DIM, dtype=torch.complex64)},
        {"dtype": torch.int64},
    ],
    ids=["numpy", "integers", "complex", "dtype"],
)
def test_proxies_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"^{next(iter(options))}: got .*, expected "):
        dml.PDLoss(CLASSES, DIM, **options)


def test_functional_call_uses_the_given_proxies_in_silence() -> None:
    module = made(dml.PDLoss)
    given = torch.randn_like(module.proxies)
    expected = dml.pd_loss(samples(), LABELS, given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(30):
            weights = {"proxies": given.clone().requires_grad_() * 1.0}
            found = torch.func.functional_call(module, weights, (samples(), LABELS))
            found.backward()
    torch.testing.assert_close(found, expected)


def nearest_class(module: Any, embeddings: Tensor) -> Tensor:
    cosines = F.normalize(embeddings) @ F.normalize(module.proxies).T
    return cosines.argmax(1) // module.proxies_per_class


@pytest.mark.parametrize(
    "build", [dml.NormalizedSoftmaxLoss, dml.ProxyNCALoss, dml.CosFaceLoss, dml.ArcFaceLoss, dml.SoftTripleLoss]
)
def test_logits(build: Build) -> None:
    module = made(build)
    embeddings = samples(3)
    logits = module.get_logits(embeddings)
    assert logits.shape == (len(embeddings), CLASSES)
    if module.proxies_per_class == 1:
        assert torch.equal(logits.argmax(1), nearest_class(module, embeddings))
        expected = module.options["scale"] * F.normalize(embeddings) @ F.normalize(module.proxies).T
        torch.testing.assert_close(logits, expected)
    own = module.proxies.detach()[:: module.proxies_per_class]
    assert torch.equal(module.get_logits(own).argmax(1), torch.arange(CLASSES))
    assert module.get_logits(own.half()).dtype == torch.float32


def test_logits_are_those_of_the_loss() -> None:
    embeddings, labels = samples(), LABELS.abs() % CLASSES
    for build, options in (
        (dml.NormalizedSoftmaxLoss, {}),
        (dml.NormalizedSoftmaxLoss, {"proxies_per_class": 3}),
        (dml.SoftTripleLoss, {"margin": 0.0, "tau": 0.0}),
    ):
        module = made(build, **options)
        expected = F.cross_entropy(module.get_logits(embeddings), labels)
        torch.testing.assert_close(module(embeddings, labels), expected)


def test_shapes() -> None:
    assert dml.PotentialFieldLoss(CLASSES, DIM).proxies.shape == (15 * CLASSES, DIM)
    assert dml.SoftTripleLoss(CLASSES, DIM).proxies.shape == (10 * CLASSES, DIM)
    assert dml.PDLoss(CLASSES, DIM).proxy_labels is None
    assert dml.PDLoss(CLASSES, DIM, proxies_per_class=2).proxy_labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
