"""exp and powers of the engine against exact values, in units in the last place."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dmlkernels.backends.native import module

DTYPES = (torch.float32, torch.float64)


def ulps(found: Tensor, exact: Tensor) -> Tensor:
    """Distance in units in the last place of the exact value, which is in float64 or, for float64, as good as that."""
    expected = exact.to(found.dtype)
    spacing = torch.nextafter(expected.abs(), torch.full_like(expected, torch.inf)) - expected.abs()
    return (found.double() - exact).abs() / spacing.double()


def evaluate(kernels: module.compiled.Kernels, x: Tensor, exponent: float | None = None) -> Tensor:
    out, wide = torch.empty_like(x), x.dtype == torch.float64
    if exponent is None:
        kernels.exp(wide, x.data_ptr(), out.data_ptr(), x.numel())
    else:
        kernels.power(wide, exponent, x.data_ptr(), out.data_ptr(), x.numel())
    return out


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_exp_within_two_ulps(kernels: module.compiled.Kernels, dtype: torch.dtype) -> None:
    bound = 87.0 if dtype == torch.float32 else 700.0
    x = torch.cat([torch.linspace(-bound, bound, 200_001, dtype=dtype), torch.linspace(-1, 1, 20_001, dtype=dtype)])
    assert ulps(evaluate(kernels, x), x.double().exp()).max() <= 2


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_exp_at_the_ends(kernels: module.compiled.Kernels, dtype: torch.dtype) -> None:
    x = torch.tensor([-torch.inf, -1e30, -1e4, 0.0, 1e4, torch.inf, torch.nan], dtype=dtype)
    found = evaluate(kernels, x)
    assert found[:-1].tolist() == [0.0, 0.0, 0.0, 1.0, torch.inf, torch.inf]
    assert found[-1].isnan()
    subnormal = torch.tensor([-95.0, -103.0] if dtype == torch.float32 else [-720.0, -745.0], dtype=dtype)
    smallest = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    torch.testing.assert_close(evaluate(kernels, subnormal), subnormal.exp(), rtol=0, atol=2 * smallest)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("exponent", [-0.05, -0.5, -1.0, -1.5, -2.5, -3.7, -6.0])
def test_powers_within_a_few_ulps(kernels: module.compiled.Kernels, dtype: torch.dtype, exponent: float) -> None:
    """Of squared distances, 1e-8 to 4, as the field takes them: rounding those may cost |exponent| ulps already."""
    x = torch.logspace(-8, 0.61, 100_001, dtype=torch.float64).to(dtype)
    x = x[x.pow(exponent).isfinite()]
    assert ulps(evaluate(kernels, x, exponent), x.double().pow(exponent)).max() <= max(2.0, 1 + abs(exponent))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_powers_at_the_ends(kernels: module.compiled.Kernels, dtype: torch.dtype) -> None:
    small = torch.finfo(dtype).smallest_normal
    x = torch.tensor([1.0, torch.nan, small, 4.0], dtype=dtype)
    found = evaluate(kernels, x, -1.5)
    assert found[0] == 1
    assert found[1].isnan()
    assert found[2] == torch.inf
    assert evaluate(kernels, x, -300.0 if dtype == torch.float32 else -3000.0)[3] == 0
