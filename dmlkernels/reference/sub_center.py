"""SubCenter-ArcFace: the best of several centres per class."""

from __future__ import annotations

import torch
from torch import Tensor

from ._common import cosines, kept_rows, per_sample, reduce_rows, same_class
from .softmax import add_angle


def sub_center_arcface_loss(
    embeddings: Tensor,  # (B, D)
    labels: Tensor,  # (B,)
    centers: Tensor,  # (C * K, D), centre k of class c in row c * K + k
    *,
    centers_per_class: int = 3,
    scale: float | Tensor = 64.0,
    margin: float | Tensor = 0.5,
    sample_weight: Tensor | None = None,  # (B,)
    class_weights: Tensor | None = None,  # (C,)
    reduction: str = "mean",
    ignore_index: int = -100,
) -> Tensor:
    """Cross-entropy of max_k s_ck, with the angular margin on the positive."""
    keep = kept_rows(labels, ignore_index)
    same = same_class(labels[keep], torch.arange(len(centers) // centers_per_class, device=labels.device))
    scores = cosines(embeddings[keep], centers).unflatten(1, (-1, centers_per_class)).max(dim=2).values  # (B, C)
    margin = torch.as_tensor(per_sample(margin, labels, keep), dtype=scores.dtype, device=scores.device)
    scale = torch.as_tensor(per_sample(scale, labels, keep), dtype=scores.dtype, device=scores.device)
    logits = scale[..., None] * torch.where(same, add_angle(scores, margin[..., None]), scores)
    rows = -logits.log_softmax(dim=1)[same]
    weights = None if class_weights is None else class_weights[labels[keep].long()].to(rows.dtype)
    return reduce_rows(rows if weights is None else rows * weights, keep, sample_weight, reduction, weights)
