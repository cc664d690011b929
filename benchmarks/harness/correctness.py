"""A variant must be right before it is timed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def complaint(actual: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float) -> str:
    """What is wrong with (loss, gradients), or an empty string."""
    for number, (a, e) in enumerate(zip(actual, expected, strict=True)):
        name = "loss" if number == 0 else f"gradient {number}"
        if a.shape != e.shape:
            return f"{name}: shape {tuple(a.shape)}, expected {tuple(e.shape)}"
        error = _relative_error(a, e)
        if not error <= tolerance:
            return f"{name}: relative error {error:.1e}, at most {tolerance:.0e} allowed"
    return ""


def _relative_error(actual: Tensor, expected: Tensor) -> float:
    """By blocks of rows: a float64 copy of the gradient of a million proxies is not small."""
    difference = reference = 0.0
    for a, e in zip(actual.reshape(-1).split(2**22), expected.reshape(-1).split(2**22), strict=True):
        wide = e.double()
        difference += float(torch.sum((a.double() - wide) ** 2))
        reference += float(torch.sum(wide**2))
    if difference != difference or difference == float("inf"):
        return float("inf")
    return (difference / max(reference, 1e-30)) ** 0.5
