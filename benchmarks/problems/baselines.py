"""The best plain PyTorch we can write, which a careful user would have without this package: B x C and autograd."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.problems.inputs import Inputs


def pd(inputs: Inputs, min_gap: float = 0.01, eps: float = 1e-6) -> Tensor:
    """PD-Loss from pooled sums less the gathered genuine scores: no boolean indexing."""
    scores = _scores(inputs)
    genuine = scores.gather(1, inputs.labels[:, None])[:, 0]
    impostors = scores.numel() - genuine.numel()
    impostor_mean = (scores.sum() - genuine.sum()) / impostors
    squares = (scores - impostor_mean).square().sum() - (genuine - impostor_mean).square().sum()
    gap = genuine.mean() - impostor_mean
    above = gap.clamp_min(min_gap)
    spread = genuine.var(correction=0) + squares / impostors
    return (spread + eps).log() / 2 - above.log() - (gap - above) / min_gap


def normalized_softmax(inputs: Inputs) -> Tensor:
    return F.cross_entropy(20 * _scores(inputs), inputs.labels)


def proxy_nca(inputs: Inputs) -> Tensor:
    return F.cross_entropy(18 * _scores(inputs), inputs.labels)


def cosface(inputs: Inputs) -> Tensor:
    scores = _scores(inputs)
    margins = torch.zeros_like(scores).scatter_(1, inputs.labels[:, None], 0.35)
    return F.cross_entropy(64 * (scores - margins), inputs.labels)


def arcface(inputs: Inputs) -> Tensor:
    scores = _scores(inputs)
    own = scores.gather(1, inputs.labels[:, None])
    sine = (1 - own.square()).clamp_min(1e-7).sqrt()
    turned = torch.where(own > -math.cos(0.5), own * math.cos(0.5) - sine * math.sin(0.5), own - 0.5 * math.sin(0.5))
    return F.cross_entropy(64 * scores.scatter(1, inputs.labels[:, None], turned), inputs.labels)


def proxy_anchor(inputs: Inputs, alpha: float = 32.0, margin: float = 0.1) -> Tensor:
    scores = _scores(inputs)
    classes = torch.arange(scores.shape[1], device=scores.device)
    own = inputs.labels[:, None] == classes
    pull = torch.where(own, -alpha * (scores - margin), -torch.inf)
    push = torch.where(own, -torch.inf, alpha * (scores + margin))
    present = own.any(0)
    pulls = F.softplus(torch.where(present, pull.logsumexp(0), 0), threshold=50)
    return torch.where(present, pulls, 0).sum() / present.sum() + F.softplus(push.logsumexp(0), threshold=50).mean()


def soft_triple(inputs: Inputs) -> Tensor:
    group = int((inputs.proxy_labels == 0).sum())
    scores = _scores(inputs).unflatten(1, (-1, group))
    classes = (torch.softmax(scores * 10, 2) * scores).sum(2)
    margins = torch.zeros_like(classes).scatter_(1, inputs.labels[:, None], 0.01)
    return F.cross_entropy(20 * (classes - margins), inputs.labels)


def field(inputs: Inputs, alpha: float = 3.0, delta: float = 0.2, d_min: float = 1e-2) -> Tensor:
    """Both potentials as one power of a clamped squared distance, on the whole matrix."""
    points = F.normalize(torch.cat((inputs.embeddings, inputs.proxies)), eps=1e-12)
    labels = torch.cat((inputs.labels, inputs.proxy_labels))
    squared = 2 - 2 * (points @ points.T)
    same = labels[:, None] == labels
    low = torch.where(same, delta**2, d_min**2)
    high = torch.where(same, torch.inf, delta**2)
    energy = torch.where(same, -1.0, 1.0) * torch.minimum(torch.maximum(squared, low), high).pow(-alpha / 2)
    energy = energy.masked_fill(torch.eye(len(labels), dtype=torch.bool, device=labels.device), 0)
    return delta**alpha * energy.sum() / len(labels)


def _scores(inputs: Inputs) -> Tensor:
    samples = inputs.embeddings.to(inputs.proxies.dtype)
    return F.normalize(samples, eps=1e-12) @ F.normalize(inputs.proxies, eps=1e-12).T


PLAIN: dict[str, Callable[[Inputs], Tensor]] = {
    "pd": pd,
    "normalized_softmax": normalized_softmax,
    "proxy_nca": proxy_nca,
    "cosface": cosface,
    "arcface": arcface,
    "proxy_anchor": proxy_anchor,
    "soft_triple": soft_triple,
    "field": field,
}
ONE_PROXY_PER_CLASS = {"pd", "normalized_softmax", "proxy_nca", "cosface", "arcface", "proxy_anchor"}
