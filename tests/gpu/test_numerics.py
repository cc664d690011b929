"""Accuracy on the device in every dtype and matmul precision, and bits that repeat."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from benchmarks.harness.precision import matmul_precision
from tests.gpu.common import SIZES, made, worst_errors
from tests.triton.common import KINDS, outcome, upstream

# Statistics, gradients. The field's slope goes as a power of a distance that a tf32 score does not resolve, which is
# why its scores never are.
TOLERANCE = {
    torch.float64: (1e-10, 1e-10),
    torch.float32: (2e-5, 1e-4),
    torch.float16: (1e-4, 4e-3),
    torch.bfloat16: (1e-4, 2e-2),
}


@pytest.fixture
def precision(request: pytest.FixtureRequest) -> Iterator[str]:
    with matmul_precision(request.param):
        yield request.param


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_accuracy(kind: str, size: str, dtype: torch.dtype) -> None:
    statistics, *gradients = worst_errors(made(kind, size, dtype))
    assert statistics <= TOLERANCE[dtype][0]
    assert max(gradients) <= TOLERANCE[dtype][1]


@pytest.mark.parametrize("precision", ["high", "medium"], indirect=True)
@pytest.mark.parametrize("kind", KINDS)
def test_tf32(kind: str, precision: str) -> None:
    statistics, *gradients = worst_errors(made(kind, "medium", torch.float32))
    exact = kind.startswith(("field", "fused"))
    assert statistics <= (1e-4 if exact else 2e-2)
    assert max(gradients) <= (1e-3 if exact else 5e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_twenty_runs_give_the_same_bits(kind: str, dtype: torch.dtype) -> None:
    pairs = made(kind, "medium", dtype)
    first = outcome("triton", pairs, upstream(pairs))
    for _ in range(19):
        for one, other in zip(outcome("triton", pairs, upstream(pairs)), first, strict=True):
            assert (one is None and other is None) or torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("precision", ["highest", "medium"], indirect=True)
def test_closed_form_keeps_collapsed_variances(dtype: torch.dtype, precision: str) -> None:
    """Cosines near 0.95 and their variance, through torch's matmul, whatever it may do elsewhere."""
    from dmlkernels.backends.gpu import closed
    from dmlkernels.backends.pairs import Pairs
    from dmlkernels.statistics import Moments

    generator = torch.Generator().manual_seed(0)
    common = torch.randn(64, generator=generator)
    rows = (4.4 * common + torch.randn(2000, 64, generator=generator)).to("cuda", dtype)
    columns = (4.4 * common + torch.randn(3000, 64, generator=generator)).to("cuda", dtype)
    pairs = Pairs(Moments(), rows, columns, torch.arange(2000, device="cuda"))
    assert closed.applies(pairs)
    statistics, *gradients = worst_errors(pairs)
    assert statistics <= 1e-4
    assert max(gradients) <= (1e-3 if dtype == torch.float32 else 2e-2)
