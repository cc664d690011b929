"""Orthogonal penalty against a background dictionary: losses.md, section 3."""

from __future__ import annotations

import torch
from torch import Tensor

from ._common import cosines, reduce_rows


def odba_penalty(
    embeddings: Tensor,  # (B, D)
    atoms: Tensor,  # (K, D)
    *,
    prior: Tensor | None = None,  # (K,)
    active: Tensor | None = None,  # (K,) bool
    sample_weight: Tensor | None = None,  # (B,)
    reduction: str = "mean",
) -> Tensor:
    """Mean squared cosine of samples and active atoms, or their prior-weighted sum; atoms get no gradient."""
    if len(embeddings) == 0:
        raise ValueError("embeddings: no samples")
    squares = cosines(embeddings, atoms.detach()).square()  # (B, K)
    active = torch.ones_like(squares[0], dtype=torch.bool) if active is None else active
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction: got {reduction!r}, expected 'mean' or 'sum'")
    if prior is not None:
        rows = (squares * prior.detach().to(squares.dtype) * active).sum(dim=1)
    elif reduction == "sum" or not active.any():
        rows = squares[:, active].sum(dim=1)
    else:
        rows = squares[:, active].mean(dim=1)
    return reduce_rows(rows, torch.ones_like(rows, dtype=torch.bool), sample_weight, reduction)
