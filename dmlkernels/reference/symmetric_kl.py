"""Invariance loss between two views: losses.md, section 4."""

from __future__ import annotations

import torch
from torch import Tensor

from ._common import cosines, reduce_rows


def symmetric_kl_loss(
    embeddings: Tensor,  # (B, D)
    intervened: Tensor,  # (B, D)
    proxies: Tensor,  # (C, D)
    *,
    temperature: float,
    detach_targets: bool = True,
    detach_proxies: bool = True,
    sample_weight: Tensor | None = None,  # (B,)
) -> Tensor:
    """Half the mean of KL(sg p || p') + KL(sg p' || p), p and p' the proxy distributions of the two views."""
    if len(embeddings) == 0:
        raise ValueError("embeddings: no samples")
    proxies = proxies.detach() if detach_proxies else proxies
    log_p = torch.log_softmax(cosines(embeddings, proxies) / temperature, dim=1)
    log_q = torch.log_softmax(cosines(intervened, proxies) / temperature, dim=1)
    rows = _divergence(log_p, log_q, detach_targets) + _divergence(log_q, log_p, detach_targets)
    return reduce_rows(rows, torch.ones_like(rows, dtype=torch.bool), sample_weight, "mean") / 2


def _divergence(log_target: Tensor, log_model: Tensor, detach_target: bool) -> Tensor:  # (B,)
    """KL(target || model) of each row."""
    log_target = log_target.detach() if detach_target else log_target
    return (log_target.exp() * (log_target - log_model)).sum(dim=1)
