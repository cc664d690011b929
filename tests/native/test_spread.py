"""Distances among centres, compiled, against the torch backend's."""

from __future__ import annotations

import pytest
import torch

from dmlkernels.backends import native
from dmlkernels.backends.blocked import spread as tensors
from dmlkernels.backends.native import spread as compiled

pytestmark = pytest.mark.skipif(
    native.unavailable_reason() is not None, reason=native.unavailable_reason() or "the native module is here"
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("classes", "group", "dim"), [(1, 2, 2), (5, 3, 7), (40, 10, 16), (3, 4, 130)])
def test_equals_the_torch_backend(classes: int, group: int, dim: int, dtype: torch.dtype) -> None:
    centers = torch.randn(classes * group, dim + 3, dtype=dtype, generator=torch.Generator().manual_seed(2))[:, :dim]
    assert compiled.suits(centers)
    gradient = torch.tensor(0.7, dtype=dtype)
    exact = centers.double()
    value = tensors.spread(exact, group, 1e-5, 0.3)
    of_centers = tensors.spread_backward(gradient.double(), exact, group, 1e-5, 0.3)
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(compiled.spread(centers, group, 1e-5, 0.3).double(), value, **tolerance)
    found = compiled.spread_backward(gradient, centers, group, 1e-5, 0.3)
    torch.testing.assert_close(found.double(), of_centers, **tolerance)


def test_no_centres_have_no_distance() -> None:
    assert compiled.spread(torch.empty(0, 4), 2, 1e-5, 1.0) == 0
    assert compiled.spread_backward(torch.tensor(1.0), torch.empty(0, 4), 2, 1e-5, 1.0).shape == (0, 4)


def test_the_same_whatever_the_number_of_threads() -> None:
    centers = torch.randn(700, 32)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(compiled.spread(centers, 7, 1e-5, 1.0))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


@pytest.mark.parametrize("centers", [torch.randn(4, 3).bfloat16(), torch.randn(3, 4).mT])
def test_what_the_engine_cannot_read_goes_to_the_torch_backend(centers: torch.Tensor) -> None:
    assert not compiled.suits(centers)
