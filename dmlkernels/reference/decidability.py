"""PD-Loss and D-Loss: losses.md, section 1."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ._common import classes_of, cosines, kept_rows, same_class


def pd_loss(
    embeddings: Tensor,  # (B, D)
    labels: Tensor,  # (B,)
    proxies: Tensor,  # (C, D)
    *,
    proxy_labels: Tensor | None = None,  # (C,)
    form: str = "neg_log",
    temperature: float = 1.0,
    correction: int = 0,
    min_gap: float = 0.01,
    eps: float = 1e-6,
    ignore_index: int = -100,
) -> Tensor:
    """Decidability of sample-proxy cosines."""
    keep = kept_rows(labels, ignore_index)
    same = same_class(labels[keep], classes_of(proxies, proxy_labels))
    scores = cosines(embeddings[keep], proxies) / temperature
    return decidability_objective(scores[same], scores[~same], form, correction, min_gap, eps)


def decidability_loss(
    embeddings: Tensor,  # (B, D)
    labels: Tensor,  # (B,)
    *,
    form: str = "neg",
    correction: int = 0,
    min_gap: float = 0.01,
    eps: float = 1e-6,
    ignore_index: int = -100,
) -> Tensor:
    """Decidability of the cosines of the unordered pairs i < j of the batch."""
    keep = kept_rows(labels, ignore_index)
    kept, labels = embeddings[keep], labels[keep]
    scores = cosines(kept, kept)
    same = labels[:, None] == labels[None, :]
    pair = torch.ones_like(same).triu(diagonal=1)
    return decidability_objective(scores[pair & same], scores[pair & ~same], form, correction, min_gap, eps)


def decidability(genuine_scores: Tensor, impostor_scores: Tensor) -> Tensor:
    """The plain index d', signed, with population variances."""
    _require(genuine_scores, impostor_scores)
    variance = _variance(genuine_scores, 0) + _variance(impostor_scores, 0)
    return (genuine_scores.mean() - impostor_scores.mean()) / (variance / 2).sqrt()


def decidability_objective(
    genuine: Tensor, impostor: Tensor, form: str, correction: int, min_gap: float, eps: float
) -> Tensor:
    _require(genuine, impostor)
    gap = genuine.mean() - impostor.mean()
    variance = _variance(genuine, correction) + _variance(impostor, correction)
    decidability_index = gap / (variance / 2 + eps).sqrt()
    if form == "neg_log":
        # Below min_gap the tangent of -log at min_gap.
        barrier = -gap.log() if gap >= min_gap else -math.log(min_gap) - (gap - min_gap) / min_gap
        return barrier + 0.5 * (variance + eps).log()
    if form == "neg":
        return -decidability_index
    if form == "inverse":
        return 1 / decidability_index
    raise ValueError(f"form: got {form!r}, expected 'neg_log', 'neg' or 'inverse'")


def _variance(scores: Tensor, correction: int) -> Tensor:
    return (scores - scores.mean()).square().sum() / (scores.numel() - correction)


def _require(genuine: Tensor, impostor: Tensor) -> None:
    for name, scores in (("genuine", genuine), ("impostor", impostor)):
        if scores.numel() == 0:
            raise ValueError(f"the {name} set is empty")
