"""Symmetric KL where softmaxes are all but one-hot and views all but equal: float32 errs no more than dense torch does.

Both are compared with the float64 truth of the same rounded inputs. The loss is then as small as 1e-19, and so are its
gradients, whose digits a normaliser or a mean that is kept as one large number would swallow.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import dmlkernels as dml
from dmlkernels import reference
from dmlkernels.backends.blocked import plan

BATCH, CLASSES, DIM = 64, 200, 64
TIMES_DENSE = 4
EPSILON = torch.finfo(torch.float32).eps


class Outcome(NamedTuple):
    """Float64 copies."""

    loss: Tensor
    gradients: tuple[Tensor, ...]  # of the views and of the proxies


def evaluate(inputs: tuple[Tensor, ...], dtype: torch.dtype, backend: str | None, **options: Any) -> Outcome:
    """By a backend, or by the reference."""
    where: Any = reference if backend is None else dml
    if backend is not None:
        options["backend"] = backend
    leaves = [x.to(dtype, copy=True).requires_grad_() for x in inputs]
    loss = where.symmetric_kl_loss(*leaves, detach_proxies=False, **options)
    gradients = torch.autograd.grad(loss, leaves)
    return Outcome(loss.detach().double(), tuple(gradient.double() for gradient in gradients))


def assert_as_good_as_dense(
    temperature: float, distance: float, near: bool, detach_targets: bool, backend: str, classes: int = CLASSES
) -> None:
    generator = torch.Generator().manual_seed(0)
    proxies, noise, shift = (torch.randn(rows, DIM, generator=generator) for rows in (classes, BATCH, BATCH))
    labels = torch.randint(0, classes, (BATCH,), generator=generator)
    first = proxies[labels] + 0.1 * noise if near else noise
    inputs = (first, first + distance * shift, proxies)
    options = {"temperature": temperature, "detach_targets": detach_targets}
    true = evaluate(inputs, torch.float64, None, **options)
    dense = evaluate(inputs, torch.float32, None, **options)
    found = evaluate(inputs, torch.float32, backend, **options)

    roundings = EPSILON * (1 + 1 / temperature)  # of the result, and of a cosine, which becomes a logit
    moved = sum((g.norm(dim=1) * x.norm(dim=1)).sum() for g, x in zip(true.gradients[:2], inputs[:2], strict=True))
    assert (found.loss - true.loss).abs() <= TIMES_DENSE * (dense.loss - true.loss).abs() + roundings * moved
    for ours, theirs, exact in zip(found.gradients, dense.gradients, true.gradients, strict=True):
        assert (ours - exact).norm() <= TIMES_DENSE * (theirs - exact).norm() + roundings * exact.norm()


@pytest.mark.parametrize("detach_targets", [False, True], ids=["exact", "detached"])
@pytest.mark.parametrize("near", [False, True], ids=["anywhere", "near_proxies"])
@pytest.mark.parametrize("distance", [1.0, 1e-1, 1e-2, 1e-3])
@pytest.mark.parametrize("temperature", [1.0, 0.1, 0.05, 0.02])
def test_float32(temperature: float, distance: float, near: bool, detach_targets: bool, backend: str) -> None:
    assert_as_good_as_dense(temperature, distance, near, detach_targets, backend)


@pytest.mark.parametrize("distance", [1.0, 1e-2])
@pytest.mark.parametrize("temperature", [1.0, 0.05, 0.02])
def test_summaries_merge(temperature: float, distance: float, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of many tiles, of which one holds a row's highest logit."""
    monkeypatch.setattr(plan, "TILE_ELEMENTS", 1 << 13)
    assert_as_good_as_dense(temperature, distance, True, False, backend, classes=1100)


def test_equal_views_have_none(backend: str) -> None:
    """Neither loss nor gradient, exactly."""
    generator = torch.Generator().manual_seed(0)
    proxies, view = (torch.randn(rows, DIM, generator=generator) for rows in (CLASSES, BATCH))
    for detach_targets in (False, True):
        options = {"temperature": 0.05, "detach_targets": detach_targets}
        found = evaluate((view, view, proxies), torch.float32, backend, **options)
        assert found.loss == 0 and not any(gradient.any() for gradient in found.gradients)
