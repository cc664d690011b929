"""AdaFace, MagFace and CurricularFace on the matrix of scores."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ._common import kept_rows, per_sample, reduce_rows
from .softmax import _class_scores, _cross_entropy, add_angle


def adaface_loss(
    embeddings: Tensor,  # (B, D)
    labels: Tensor,  # (B,)
    proxies: Tensor,  # (C, D)
    *,
    scale: float | Tensor = 64.0,
    margin: float = 0.4,
    concentration: float = 0.333,
    norm_mean: float | Tensor | None = None,
    norm_std: float | Tensor | None = None,
    proxy_labels: Tensor | None = None,  # (C,)
    sample_weight: Tensor | None = None,  # (B,)
    class_weights: Tensor | None = None,  # (C,)
    reduction: str = "mean",
    ignore_index: int = -100,
) -> Tensor:
    """cos(theta_y - m q) - m (1 + q), with q from the standardised norm and the angle between 1e-3 and pi - 1e-3."""
    keep = kept_rows(labels, ignore_index)
    scale = per_sample(scale, labels, keep)
    positive, negative = _class_scores(embeddings[keep], labels[keep], proxies, proxy_labels, scale)
    cosine = positive / scale
    norms = torch.linalg.vector_norm(embeddings[keep].detach().to(cosine.dtype), dim=1).clamp(1e-3, 100)
    mean = norms.mean() if norm_mean is None else norm_mean
    spread = norms - norms.mean()
    std = (spread.square().sum() / max(len(norms) - 1, 1)).sqrt() if norm_std is None else norm_std
    quality = ((norms - mean) / (std + 1e-3) * concentration).clamp(-1, 1)
    theta = torch.acos(cosine.detach().clamp(-1, 1)) - margin * quality
    epsilon = torch.finfo(cosine.dtype).eps  # the sine near 0 as in ``add_angle``
    squared_sine = ((1 - cosine) * (1 + cosine)).clamp_min(0)
    sine = squared_sine / squared_sine.clamp_min(epsilon).sqrt()
    turned = cosine * (margin * quality).cos() + sine * (margin * quality).sin()
    turned = torch.where(theta < 1e-3, math.cos(1e-3), torch.where(theta > math.pi - 1e-3, -math.cos(1e-3), turned))
    rows = _cross_entropy(scale * (turned - margin * (1 + quality)), negative)
    return _reduced(rows, labels, keep, sample_weight, class_weights, reduction)


def magface_loss(
    embeddings: Tensor,  # (B, D)
    labels: Tensor,  # (B,)
    proxies: Tensor,  # (C, D)
    *,
    scale: float | Tensor = 64.0,
    lower_norm: float = 10.0,
    upper_norm: float = 110.0,
    lower_margin: float = 0.45,
    upper_margin: float = 0.8,
    regularizer_weight: float = 35.0,
    proxy_labels: Tensor | None = None,  # (C,)
    sample_weight: Tensor | None = None,  # (B,)
    class_weights: Tensor | None = None,  # (C,)
    reduction: str = "mean",
    ignore_index: int = -100,
) -> Tensor:
    """ArcFace at a margin linear in the clamped norm a, plus lambda (a / upper^2 + 1 / a)."""
    keep = kept_rows(labels, ignore_index)
    scale = per_sample(scale, labels, keep)
    positive, negative = _class_scores(embeddings[keep], labels[keep], proxies, proxy_labels, scale)
    norms = torch.linalg.vector_norm(embeddings[keep].to(positive.dtype), dim=1).clamp(lower_norm, upper_norm)
    margin = lower_margin + (upper_margin - lower_margin) * (norms - lower_norm) / (upper_norm - lower_norm)
    rows = _cross_entropy(scale * add_angle(positive / scale, margin), negative)
    rows = rows + regularizer_weight * (norms / upper_norm**2 + 1 / norms)
    return _reduced(rows, labels, keep, sample_weight, class_weights, reduction)


def curricularface_loss(
    embeddings: Tensor,  # (B, D)
    labels: Tensor,  # (B,)
    proxies: Tensor,  # (C, D)
    *,
    scale: float | Tensor = 64.0,
    margin: float | Tensor = 0.5,
    hardness: float | Tensor = 0.0,
    proxy_labels: Tensor | None = None,  # (C,)
    sample_weight: Tensor | None = None,  # (B,)
    class_weights: Tensor | None = None,  # (C,)
    reduction: str = "mean",
    ignore_index: int = -100,
) -> Tensor:
    """ArcFace with negatives s > cos(theta_y + m) counted as s (t + s)."""
    keep = kept_rows(labels, ignore_index)
    scale, margin = per_sample(scale, labels, keep), per_sample(margin, labels, keep)
    given = embeddings[keep], labels[keep], proxies, proxy_labels, scale
    positive, _ = _class_scores(*given)
    cosine = positive / scale
    positive, margin = cosine.detach(), torch.as_tensor(margin, dtype=cosine.dtype, device=cosine.device)
    threshold = positive * margin.cos() - (1 - positive.square()).clamp_min(0).sqrt() * margin.sin()
    _, negative = _class_scores(*given, harder=lambda s: torch.where(s > threshold[:, None], s * (hardness + s), s))
    rows = _cross_entropy(scale * add_angle(cosine, margin), negative)
    return _reduced(rows, labels, keep, sample_weight, class_weights, reduction)


def _reduced(
    rows: Tensor,
    labels: Tensor,
    keep: Tensor,
    sample_weight: Tensor | None,
    class_weights: Tensor | None,
    reduction: str,
) -> Tensor:
    weights = None if class_weights is None else class_weights[labels[keep].long()].to(rows.dtype)
    return reduce_rows(rows if weights is None else rows * weights, keep, sample_weight, reduction, weights)
