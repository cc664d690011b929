"""Accuracy on the device in every dtype and matmul precision, and bits that repeat."""

from __future__ import annotations

import pytest
import torch

from tests.gpu import checks
from tests.gpu.common import SIZES
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
    checks.closed_form_keeps_collapsed_variances(dtype, precision)
