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
    weight = 0.3
    exact = centers.double()
    tolerance = dict.fromkeys(("rtol", "atol"), 1e-12 if dtype == torch.float64 else 1e-5)
    value = kernels.spread(centers, group, SLACK, weight)
    assert value.dtype == wide
    total = value.double().sum(0, keepdim=True)
    torch.testing.assert_close(total, tensors.spread(exact, group, SLACK, weight), **tolerance)
    found = kernels.spread_backward(gradient.expand(value.shape), centers, group, SLACK, weight)
    expected = tensors.spread_backward(gradient.double(), exact, group, SLACK, weight)
    if dtype == torch.float16:
        tolerance = {"rtol": 1e-3, "atol": 1e-4}  # it is rounded
    torch.testing.assert_close(found.double(), expected, **tolerance)


def test_centres_that_are_equal_or_zero_have_a_finite_gradient() -> None:
    centers = drawn(4, 4, 8, torch.float64)
    centers[1], centers[5] = centers[0] * 3, 0
    gradient = torch.ones(1, dtype=torch.float64, device=DEVICE)
    found = kernels.spread_backward(gradient, centers, 4, SLACK, 1.0)
    assert found.isfinite().all()
    torch.testing.assert_close(found, tensors.spread_backward(gradient, centers, 4, SLACK, 1.0), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_class_that_is_not_finite_stays_alone(bad: float) -> None:
    centers = drawn(6, 4, 8, torch.float64)
    centers[5, 3] = bad
    assert kernels.spread(centers, 4, SLACK, 1.0).isnan().any()
    gradient = torch.ones((), dtype=torch.float64, device=DEVICE).expand(kernels.num_parts(centers, 4))
    found = kernels.spread_backward(gradient, centers, 4, SLACK, 1.0)
    wrong = found.isnan().any(1).nonzero().flatten().tolist()
    assert 5 in wrong and set(wrong) <= {4, 5, 6, 7}


def test_what_no_tile_holds_is_the_torch_backends() -> None:
    assert not kernels.suits(torch.empty(66, 4), 33)
    assert not kernels.suits(torch.empty(0, 4), 2)
