"""Distances among centres by kernels, against the torch backend's in float64."""

from __future__ import annotations

import pytest
import torch

from dmlkernels.backends.blocked import spread as tensors
from dmlkernels.backends.triton import spread as kernels
from tests.triton.common import DEVICE

SLACK = 1e-5
SHAPES = [(1, 2, 2), (5, 3, 7), (40, 10, 16), (9, 5, 70), (3, 17, 130), (2, 32, 33)]


def drawn(classes: int, group: int, dim: int, dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(classes * group, dim + 3, dtype=torch.float64, generator=generator).to(DEVICE, dtype)[:, :dim]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("classes", "group", "dim"), SHAPES)
def test_equals_the_torch_backend(classes: int, group: int, dim: int, dtype: torch.dtype) -> None:
    centers = drawn(classes, group, dim, dtype)
    assert kernels.suits(centers, group)
    wide = torch.promote_types(dtype, torch.float32)
    gradient = torch.tensor(0.7, dtype=wide, device=DEVICE)
    exact = centers.double()
    tolerance = dict.fromkeys(("rtol", "atol"), 1e-12 if dtype == torch.float64 else 1e-5)
    value = kernels.spread(centers, group, SLACK)
    assert value.dtype == wide
    torch.testing.assert_close(value.double(), tensors.spread(exact, group, SLACK), **tolerance)
    found = kernels.spread_backward(gradient, centers, group, SLACK)
    expected = tensors.spread_backward(gradient.double(), exact, group, SLACK)
    if dtype == torch.float16:
        tolerance = {"rtol": 1e-3, "atol": 1e-4}  # it is rounded
    torch.testing.assert_close(found.double(), expected, **tolerance)


def test_centres_that_are_equal_or_zero_have_a_finite_gradient() -> None:
    centers = drawn(4, 4, 8, torch.float64)
    centers[1], centers[5] = centers[0] * 3, 0
    gradient = torch.tensor(1.0, dtype=torch.float64, device=DEVICE)
    found = kernels.spread_backward(gradient, centers, 4, SLACK)
    assert found.isfinite().all()
    torch.testing.assert_close(found, tensors.spread_backward(gradient, centers, 4, SLACK), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_class_that_is_not_finite_stays_alone(bad: float) -> None:
    centers = drawn(6, 4, 8, torch.float64)
    centers[5, 3] = bad
    assert kernels.spread(centers, 4, SLACK).isnan()
    found = kernels.spread_backward(torch.tensor(1.0, dtype=torch.float64, device=DEVICE), centers, 4, SLACK)
    wrong = found.isnan().any(1).nonzero().flatten().tolist()
    assert 5 in wrong and set(wrong) <= {4, 5, 6, 7}


def test_what_no_tile_holds_is_the_torch_backends() -> None:
    assert not kernels.suits(torch.empty(66, 4), 33)
    assert not kernels.suits(torch.empty(0, 4), 2)
