"""Small random float64 problems."""

from __future__ import annotations

import torch
from torch import Tensor

LABELS = [0, 2, 1, -100, 0, 3, 1]
UNORDERED = [2, 0, 1, 3, 0, 2, 4]  # class 4 has no sample, classes 0 and 2 have two proxies


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def problem(seed: int = 0, proxy_labels: list[int] | None = None, dim: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings (7, D), one of them ignored, their labels, and proxies, five or one per entry of proxy_labels."""
    rows = 5 if proxy_labels is None else len(proxy_labels)
    return normal(7, dim, seed=seed), torch.tensor(LABELS), normal(rows, dim, seed=seed + 1000)


def optional(labels: list[int] | None) -> Tensor | None:
    return None if labels is None else torch.tensor(labels)
