"""Orthogonal penalty against a background dictionary: losses.md, section 3."""

from __future__ import annotations

import torch
from torch import Tensor

from ._common import cosines


def odba_penalty(
    embeddings: Tensor,  # (B, D)
    atoms: Tensor,  # (K, D)
    *,
    prior: Tensor | None = None,  # (K,)
    active: Tensor | None = None,  # (K,) bool
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
        return rows.mean() if reduction == "mean" else rows.sum()
    if reduction == "sum" or not active.any():
        return squares[:, active].sum()
    return squares[:, active].mean()
