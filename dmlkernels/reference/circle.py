"""Circle loss with class-level labels: Sun et al., equations 6 and 8."""

from __future__ import annotations

import torch
from torch import Tensor

from ._common import classes_of, cosines, kept_rows, per_sample, reduce_rows, same_class


def circle_loss(
    embeddings: Tensor,  # (B, D)
    labels: Tensor,  # (B,)
    proxies: Tensor,  # (C, D)
    *,
    scale: float | Tensor = 256.0,
    margin: float | Tensor = 0.25,
    detach_weights: bool = True,
    proxy_labels: Tensor | None = None,  # (C,)
    sample_weight: Tensor | None = None,  # (B,)
    reduction: str = "mean",
    ignore_index: int = -100,
) -> Tensor:
    """log(1 + sum of exp over the negatives times sum of exp over the positives)."""
    keep = kept_rows(labels, ignore_index)
    same = same_class(labels[keep], classes_of(proxies, proxy_labels))
    scores = cosines(embeddings[keep], proxies)
    scale, margin = (
        torch.as_tensor(per_sample(value, labels, keep), dtype=scores.dtype, device=scores.device)[..., None]
        for value in (scale, margin)
    )
    of_positives, of_negatives = (1 + margin - scores).clamp_min(0), (scores + margin).clamp_min(0)
    if detach_weights:
        of_positives, of_negatives = of_positives.detach(), of_negatives.detach()
    pull = (-scale * of_positives * (scores - (1 - margin))).masked_fill(~same, -torch.inf).logsumexp(dim=1)
    push = (scale * of_negatives * (scores - margin)).masked_fill(same, -torch.inf).logsumexp(dim=1)
    return reduce_rows(torch.logaddexp(torch.zeros_like(pull), pull + push), keep, sample_weight, reduction)
