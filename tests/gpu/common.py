"""Pairs of realistic size on the device."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.backends.pairs import Pairs
from tests.triton.common import Maker, every_kind, outcome, upstream, widen

SIZES = {"small": (128, 100, 512), "medium": (512, 2000, 512), "odd": (333, 1017, 130)}


def made(kind: str, size: str, dtype: torch.dtype) -> Pairs:
    return every_kind(Maker(*SIZES[size], dtype=dtype))[kind]


def worst_errors(pairs: Pairs, backend: str = "triton") -> tuple[float, ...]:
    """Of statistics, row and column gradients against float64, relative to the largest entry."""
    gradient = upstream(pairs)
    both = zip(outcome(backend, pairs, gradient), outcome("torch", widen(pairs), gradient), strict=True)
    return tuple(_worst(one, other) for one, other in both if one is not None and other is not None)


def _worst(found: Tensor, true: Tensor) -> float:
    finite = true.isfinite()
    assert torch.equal(found.isfinite(), finite)
    return ((found.double() - true)[finite].abs().max() / true[finite].abs().max().clamp_min(1e-30)).item()
