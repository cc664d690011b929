"""Rows of any finite scale have a direction, whatever they are given to."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import dmlkernels as dml
from dmlkernels.backends import blocked, native
from dmlkernels.backends.native import norms
from dmlkernels.functional.cosines import unit_rows
from tests.conformance.evaluate import assert_close, evaluate, ours
from tests.losses import LOSSES, Loss
from tests.problem import Problem, make_problem

DIRECTIONAL = [loss for loss in LOSSES if not loss.reads_norms]
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=str)
every_directional = pytest.mark.parametrize("loss", DIRECTIONAL, ids=str)
# About where squares overflow, and where rows begin to be made smaller first.
SCALES = [
    *((torch.float32, 10.0**exponent) for exponent in (-10, 13, 25, 37)),
    *((torch.float64, 10.0**exponent) for exponent in (-10, 150, 300)),
]
every_scale = pytest.mark.parametrize(("dtype", "scale"), SCALES, ids=lambda given: f"{given}".removeprefix("torch."))


def with_row(x: Tensor, row: int, value: float) -> Tensor:
    changed = x.clone()
    changed[row] = value
    return changed


EXPONENTS = {
    torch.float16: range(-9, 14),
    torch.bfloat16: range(-36, 126),
    torch.float32: range(-36, 126),
    torch.float64: range(-36, 1022),
}
WAYS: dict[str, Callable[[Tensor, torch.dtype], Tensor]] = {
    "torch": lambda x, dtype: blocked.normalise.normalise(x, dtype)[0],
    "native": lambda x, dtype: norms.normalise(x, dtype)[0],
    "logits": unit_rows,
}


@pytest.mark.parametrize("dtype", EXPONENTS, ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_every_power_of_two(way: str, dtype: torch.dtype) -> None:
    if way == "native" and native.unavailable_reason() is not None:
        pytest.skip(str(native.unavailable_reason()))
    row = torch.tensor([1.5, -0.75, 1.0, 0.125], dtype=dtype)
    wide = torch.promote_types(dtype, torch.float32)
    powers = torch.tensor([2.0**exponent for exponent in EXPONENTS[dtype]], dtype=dtype)
    unit = WAYS[way](powers[:, None] * row, wide)
    expected = (row.double() / row.double().norm()).to(wide)
    torch.testing.assert_close(unit, expected.expand_as(unit), rtol=2 * torch.finfo(wide).eps, atol=0)
    one_by_one = torch.cat([WAYS[way](power * row[None], wide) for power in powers])
    torch.testing.assert_close(one_by_one, unit, rtol=2 * torch.finfo(wide).eps, atol=0)


@every_scale
@every_directional
def test_losses(loss: Loss, backend: str, dtype: torch.dtype, scale: float) -> None:
    problem = make_problem("plain", dtype)
    scaled = problem.map(lambda x: x * scale, *loss.leaves, "atoms")
    expected, found = ours(loss, problem, backend), ours(loss, scaled, backend)
    torch.testing.assert_close(found.value, expected.value, rtol=1e-5, atol=1e-5)
    if scale < 1 / torch.finfo(dtype).tiny / 1e20:  # else the gradient is below what the dtype can add up
        rescaled = {name: gradient * scale for name, gradient in found.gradients.items()}
        assert_close(found._replace(gradients=rescaled), expected, problem, 1e-4)


@every_scale
@every_directional
def test_one_row_of_another_scale(loss: Loss, backend: str, dtype: torch.dtype, scale: float) -> None:
    plain = make_problem("plain", dtype).map(lambda x: with_row(x, 2, 1.0), "embeddings")
    one = plain.map(lambda x: with_row(x, 2, scale), "embeddings")
    found, expected = ours(loss, one, backend), ours(loss, plain, backend)
    torch.testing.assert_close(found.value, expected.value, rtol=1e-5, atol=1e-5)
    for name in loss.leaves:
        torch.testing.assert_close(found.gradients[name][3:], expected.gradients[name][3:], rtol=1e-4, atol=1e-5)


@every_loss
def test_rows_below_the_floor_of_norms_are_constants(loss: Loss, backend: str) -> None:
    """max(norm, 1e-12): a row this short is not turned into a direction, and no gradient of 1e12 comes out of it."""
    problem = make_problem("plain", torch.float64).map(lambda x: with_row(x, 2, 1e-14), *loss.leaves)
    expected = evaluate(loss.truth, loss, problem)
    found = ours(loss, problem, backend)
    assert_close(found, expected, problem, loss.tolerance)
    assert all((gradient[2] == 0).all() for gradient in found.gradients.values())


def test_largest_half_numbers(backend: str) -> None:
    """Norms of float16 rows pass its largest number."""
    for loss in DIRECTIONAL:
        problem: Problem = make_problem("plain", torch.float32)
        top = problem.map(lambda x: 60_000 * x / x.abs().amax(1, keepdim=True), *loss.leaves)
        half = top.cast(torch.float16, *loss.leaves)
        torch.testing.assert_close(loss(half, backend), loss.truth(half.cast(torch.float64)).float())


CLASSES, DIM = 4, 6
LABELS = torch.arange(12) % CLASSES
MODULES = (
    dml.PDLoss, dml.PotentialFieldLoss, dml.FusedObjective, dml.ProxyAnchorLoss, dml.ProxyNCALoss,
    dml.NormalizedSoftmaxLoss, dml.CosFaceLoss, dml.ArcFaceLoss, dml.SoftTripleLoss,
)  # fmt: skip


@every_scale
@pytest.mark.parametrize("kind", MODULES, ids=lambda kind: kind.__name__)
def test_modules(kind: Callable[..., dml.ProxyLoss], dtype: torch.dtype, scale: float) -> None:
    embeddings = torch.randn(12, DIM, dtype=dtype)

    def made(factor: float, loaded: bool) -> dml.ProxyLoss:
        torch.manual_seed(0)  # several proxies of a class are spread at random
        module = kind(CLASSES, DIM).to(dtype)
        if loaded:
            module.init_proxies_from([(embeddings[:5] * factor, LABELS[:5]), (embeddings[5:] * factor, LABELS[5:])])
        else:
            module.init_proxies_from(embeddings * factor, LABELS)
        return module

    for loaded in (False, True):
        plain, scaled = made(1, loaded), made(scale, loaded)
        torch.testing.assert_close(scaled.proxies, plain.proxies)
    expected = plain.get_logits(embeddings)
    torch.testing.assert_close(plain.get_logits(embeddings * scale), expected)
    with torch.no_grad():
        scaled.proxies.mul_(scale)
    torch.testing.assert_close(scaled.get_logits(embeddings), expected)
    torch.testing.assert_close(scaled(embeddings, LABELS), plain(embeddings, LABELS), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", MODULES, ids=lambda kind: kind.__name__)
def test_logits_under_autocast_are_those_without(kind: Callable[..., dml.ProxyLoss]) -> None:
    module, embeddings = kind(CLASSES, DIM), torch.randn(12, DIM)
    expected = module.get_logits(embeddings)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(module.get_logits(embeddings), expected)


def _memory(x: Tensor) -> Tensor:
    module = dml.CrossBatchMemory(dml.DecidabilityLoss(), DIM, 20).to(x.dtype)
    return torch.stack([module(x[:6], LABELS[:6]), module(x[6:], LABELS[6:])])


def _descriptors(x: Tensor) -> Tensor:
    torch.manual_seed(0)
    dictionary = dml.BackgroundDictionary(3, DIM).to(x.dtype)
    dictionary.update(x)
    return torch.cat((dictionary.atoms.flatten(), dictionary.counts, dictionary(x)[None]))


def _feature_maps(x: Tensor) -> Tensor:
    torch.manual_seed(0)
    dictionary = dml.BackgroundDictionary(3, 12).to(x.dtype)
    dictionary.update(x[:, 0].repeat(60).view(5, 12, 3, 4) * torch.rand(5, 12, 3, 4, dtype=x.dtype))
    return dictionary.atoms


def _couce(x: Tensor) -> Tensor:
    torch.manual_seed(0)
    return dml.CouCE(dml.NormalizedSoftmaxLoss(CLASSES, DIM).to(x.dtype)).to(x.dtype)(x, LABELS, x.roll(1, 0))


def _potential(x: Tensor) -> Tensor:
    return dml.potential_field(x, LABELS, x[:5], LABELS[:5], alpha=3.0, delta_att=0.2, delta_rep=0.2)[0]


OTHERS = {
    "CrossBatchMemory": _memory, "BackgroundDictionary": _descriptors, "feature maps": _feature_maps,
    "CouCE": _couce, "potential_field": _potential,
}  # fmt: skip


@every_scale
@pytest.mark.parametrize("entry", OTHERS.values(), ids=OTHERS)
def test_other_entry_points(entry: Callable[[Tensor], Tensor], dtype: torch.dtype, scale: float) -> None:
    if entry is _feature_maps and scale < 1:
        pytest.skip("the gate has a scale: its 1e-6")
    torch.manual_seed(1)
    embeddings = 3 * torch.randn(12, DIM, dtype=dtype)
    torch.testing.assert_close(entry(embeddings * scale), entry(embeddings), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["mix", "scale"])
@every_scale
def test_fourier_intervention(dtype: torch.dtype, scale: float, mode: str) -> None:
    if not 1e-9 < scale < torch.finfo(dtype).max ** 0.9:
        pytest.skip("amplitudes have a floor of 1e-8, and sums of 1e37 overflow")
    maps = torch.randn(4, 3, 8, 8, dtype=dtype)

    def changed(factor: float) -> Tensor:
        return dml.fourier_intervention(maps * factor, mode=mode, generator=torch.Generator().manual_seed(0)) / factor

    torch.testing.assert_close(changed(scale), changed(1e3), rtol=1e-4, atol=1e-5)
