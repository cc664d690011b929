"""SoftTriple: losses.md, section 5."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ._common import cosines, kept_rows, normalize, reduce_rows, same_class


def soft_triple_loss(
    embeddings: Tensor,  # (B, D)
    labels: Tensor,  # (B,)
    centers: Tensor,  # (C * K, D), centre k of class c in row c * K + k
    *,
    centers_per_class: int = 10,
    scale: float = 20.0,
    gamma: float = 0.1,
    tau: float = 0.2,
    margin: float = 0.01,
    sample_weight: Tensor | None = None,  # (B,)
    reduction: str = "mean",
    ignore_index: int = -100,
) -> Tensor:
    """Cross-entropy of softly assigned class scores, plus tau times a regulariser that merges a class's centres.

    The regulariser belongs to no sample: it is added once to a mean or sum, and is no part of the rows of "none".
    """
    num_classes = len(centers) // centers_per_class
    keep = kept_rows(labels, ignore_index)
    positive = same_class(labels[keep], torch.arange(num_classes, device=labels.device))  # (B, C)
    scores = cosines(embeddings[keep], centers).unflatten(1, (num_classes, centers_per_class))  # (B, C, K)
    class_scores = (torch.softmax(scores / gamma, dim=2) * scores).sum(dim=2)  # (B, C)
    logits = scale * (class_scores - margin * positive.to(scores.dtype))
    rows = F.cross_entropy(logits, labels[keep].long(), reduction="none")
    loss = reduce_rows(rows, keep, sample_weight, reduction)
    if reduction == "none" or tau <= 0 or centers_per_class == 1:
        return loss
    return loss + tau * _spread(centers, num_classes, centers_per_class)


def _spread(centers: Tensor, num_classes: int, centers_per_class: int) -> Tensor:
    """Distances of the centres s < t of each class, summed, over C K (K - 1)."""
    unit = normalize(centers).unflatten(0, (num_classes, centers_per_class))  # (C, K, D)
    gram = unit @ unit.mT  # (C, K, K)
    s, t = torch.triu_indices(centers_per_class, centers_per_class, offset=1, device=centers.device)
    distances = (2 + 1e-5 - 2 * gram[:, s, t]).sqrt()
    return distances.sum() / (num_classes * centers_per_class * (centers_per_class - 1))
