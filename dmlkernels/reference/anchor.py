"""Proxy-Anchor: losses.md, section 5."""

from __future__ import annotations

import torch
from torch import Tensor

from ._common import classes_of, cosines, kept_rows, same_class


def proxy_anchor_loss(
    embeddings: Tensor,  # (B, D)
    labels: Tensor,  # (B,)
    proxies: Tensor,  # (C, D)
    *,
    alpha: float = 32.0,
    margin: float = 0.1,
    proxy_labels: Tensor | None = None,  # (C,)
    ignore_index: int = -100,
) -> Tensor:
    """Pulls over the proxies with a sample of their class in the batch, plus pushes over all proxies."""
    keep = kept_rows(labels, ignore_index)
    same = same_class(labels[keep], classes_of(proxies, proxy_labels))
    scores = cosines(embeddings[keep], proxies)
    pull = _log_one_plus_sum_exp((-alpha * (scores - margin)).masked_fill(~same, -torch.inf))
    push = _log_one_plus_sum_exp((alpha * (scores + margin)).masked_fill(same, -torch.inf))
    present = same.any(dim=0)
    return pull[present].mean() + push.mean()


def _log_one_plus_sum_exp(logits: Tensor) -> Tensor:  # (C,)
    """log(1 + sum over samples of exp(logit)): the 1 is one more row of zeros."""
    return torch.cat((torch.zeros_like(logits[:1]), logits)).logsumexp(dim=0)
