"""Accuracy on the device in every dtype and matmul precision, and bits that repeat."""

from __future__ import annotations

import pytest
import torch

from benchmarks.harness.precision import matmul_precision
from tests.gpu import checks
from tests.gpu.common import SIZES, worst_errors
from tests.losses import LOSSES, Loss
from tests.triton.common import KINDS


@pytest.mark.parametrize("dtype", checks.TOLERANCE, ids=str)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_accuracy(kind: str, size: str, dtype: torch.dtype) -> None:
    checks.accuracy(kind, size, dtype)


@pytest.mark.parametrize("precision", ["high", "medium"])
@pytest.mark.parametrize("kind", KINDS)
def test_tf32(kind: str, precision: str) -> None:
    checks.tf32(kind, precision)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_autocast(loss: Loss, half: torch.dtype) -> None:
    if loss.name == "sub_center":
        pytest.skip("another centre may be the nearest once they are rounded")
    checks.autocast(loss, half)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_twenty_runs_give_the_same_bits(kind: str, dtype: torch.dtype) -> None:
    checks.twenty_runs_give_the_same_bits(kind, "medium", dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("precision", ["highest", "medium"])
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
    with matmul_precision(precision):
        assert closed.applies(pairs)
        statistics, *gradients = worst_errors(pairs)
    assert statistics <= 1e-4
    assert max(gradients) <= (1e-3 if dtype == torch.float32 else 2e-2)
