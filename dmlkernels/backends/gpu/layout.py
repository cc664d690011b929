"""How both GPU engines want vectors to lie in memory."""

from __future__ import annotations

import torch
from torch import Tensor


def unit_stride(vectors: Tensor) -> Tensor:
    """Vectors whose values are adjacent: rows may lie anywhere, anything else is copied."""
    return vectors if vectors.stride(-1) == 1 or vectors.shape[-1] == 1 else vectors.contiguous()


def class_order(labels: Tensor, boundaries: tuple[int, ...]) -> Tensor:
    """Places of the points sorted by class within their segments."""
    bounds = zip((0, *boundaries), (*boundaries, labels.shape[0]), strict=True)
    return torch.cat([labels[start:stop].argsort(stable=True) + start for start, stop in bounds])
