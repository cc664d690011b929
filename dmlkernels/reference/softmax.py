"""Normalised softmax, Proxy-NCA, CosFace and ArcFace: losses.md, section 5."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ._common import classes_of, cosines, kept_rows, per_sample, reduce_rows, same_class


def normalized_softmax_loss(
    embeddings: Tensor,  # (B, D)
    labels: Tensor,  # (B,)
    proxies: Tensor,  # (C, D)
    *,
    scale: float | Tensor = 20.0,
    proxy_labels: Tensor | None = None,  # (C,)
    sample_weight: Tensor | None = None,  # (B,)
    class_weights: Tensor | None = None,  # (C,)
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    ignore_index: int = -100,
) -> Tensor:
    """-log softmax of the class of the sample over all proxies, at scale * s."""
    keep = kept_rows(labels, ignore_index)
    scale = per_sample(scale, labels, keep)
    positive, negative = _class_scores(embeddings[keep], labels[keep], proxies, proxy_labels, scale)
    rows, weights = _weighted_rows(
        embeddings[keep], labels[keep], proxies, proxy_labels, scale, positive, positive, negative,
        label_smoothing, class_weights,
    )  # fmt: skip
    return reduce_rows(rows, keep, sample_weight, reduction, weights)


def proxy_nca_loss(
    embeddings: Tensor,  # (B, D)
    labels: Tensor,  # (B,)
    proxies: Tensor,  # (C, D)
    *,
    scale: float | Tensor = 18.0,
    include_positive: bool = True,
    proxy_labels: Tensor | None = None,  # (C,)
    sample_weight: Tensor | None = None,  # (B,)
    class_weights: Tensor | None = None,  # (C,)
    reduction: str = "mean",
    ignore_index: int = -100,
) -> Tensor:
    """Proxy-NCA++, which is the normalised softmax; without the positive in the denominator the original."""
    keep = kept_rows(labels, ignore_index)
    scale = per_sample(scale, labels, keep)
    positive, negative = _class_scores(embeddings[keep], labels[keep], proxies, proxy_labels, scale)
    if not include_positive and negative.isneginf().any():
        raise ValueError("the impostor set is empty: all proxies are of one class")
    rows = _cross_entropy(positive, negative) if include_positive else negative - positive
    weights = None if class_weights is None else class_weights[labels[keep].long()]
    return reduce_rows(rows if weights is None else rows * weights, keep, sample_weight, reduction, weights)


def cosface_loss(
    embeddings: Tensor,  # (B, D)
    labels: Tensor,  # (B,)
    proxies: Tensor,  # (C, D)
    *,
    scale: float | Tensor = 64.0,
    margin: float | Tensor = 0.35,
    proxy_labels: Tensor | None = None,  # (C,)
    sample_weight: Tensor | None = None,  # (B,)
    class_weights: Tensor | None = None,  # (C,)
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    ignore_index: int = -100,
) -> Tensor:
    """Normalised softmax with s_y - margin."""
    keep = kept_rows(labels, ignore_index)
    scale = per_sample(scale, labels, keep)
    positive, negative = _class_scores(embeddings[keep], labels[keep], proxies, proxy_labels, scale)
    moved = positive - scale * per_sample(margin, labels, keep)
    rows, weights = _weighted_rows(
        embeddings[keep], labels[keep], proxies, proxy_labels, scale, positive, moved, negative,
        label_smoothing, class_weights,
    )  # fmt: skip
    return reduce_rows(rows, keep, sample_weight, reduction, weights)


def arcface_loss(
    embeddings: Tensor,  # (B, D)
    labels: Tensor,  # (B,)
    proxies: Tensor,  # (C, D)
    *,
    scale: float | Tensor = 64.0,
    margin: float | Tensor = 0.5,
    proxy_labels: Tensor | None = None,  # (C,)
    sample_weight: Tensor | None = None,  # (B,)
    class_weights: Tensor | None = None,  # (C,)
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    ignore_index: int = -100,
) -> Tensor:
    """Normalised softmax with cos(theta_y + margin), margin in radians; see ``add_angle``."""
    keep = kept_rows(labels, ignore_index)
    scale = per_sample(scale, labels, keep)
    positive, negative = _class_scores(embeddings[keep], labels[keep], proxies, proxy_labels, scale)
    moved = scale * add_angle(positive / scale, per_sample(margin, labels, keep))
    rows, weights = _weighted_rows(
        embeddings[keep], labels[keep], proxies, proxy_labels, scale, positive, moved, negative,
        label_smoothing, class_weights,
    )  # fmt: skip
    return reduce_rows(rows, keep, sample_weight, reduction, weights)


def add_angle(cosine: Tensor, margin: float | Tensor) -> Tensor:
    """cos(theta + margin) while theta < pi - margin, beyond it cos(theta) - margin sin(margin).

    Above a margin of 2.33 that line would begin above -1, where the curve ends: there it begins at -1 (ours).

    The slope of the sine, sqrt(1 - cos^2), is infinite at cos = +-1. Where u = 1 - cos^2 is below the dtype's epsilon,
    its own rounding error, the straight line u / sqrt(epsilon) takes over (ours).
    """
    squared_sine = ((1 - cosine) * (1 + cosine)).clamp_min(0)
    sine = squared_sine / squared_sine.clamp_min(torch.finfo(cosine.dtype).eps).sqrt()
    margin = torch.as_tensor(margin, dtype=cosine.dtype, device=cosine.device)
    added = cosine * margin.cos() - sine * margin.sin()
    offset = torch.maximum(margin * margin.sin(), 1 - margin.cos())
    return torch.where(cosine > (math.pi - margin).cos(), added, cosine - offset)


def _class_scores(
    embeddings: Tensor,
    labels: Tensor,
    proxies: Tensor,
    proxy_labels: Tensor | None,
    scale: float | Tensor,
    harder: Callable[[Tensor], Tensor] = lambda scores: scores,
) -> tuple[Tensor, Tensor]:  # (B,), (B,)
    """Log-sum-exp of scale * s over the positives, and over the negatives, there of ``harder`` scores."""
    same = same_class(labels, classes_of(proxies, proxy_labels))
    scores = cosines(embeddings, proxies)
    scale = torch.as_tensor(scale, dtype=scores.dtype, device=proxies.device)[..., None]
    positive = (scale * scores).masked_fill(~same, -torch.inf).logsumexp(dim=1)
    negative = (scale * harder(scores)).masked_fill(same, -torch.inf).logsumexp(dim=1)
    return positive, negative


def _weighted_rows(
    embeddings: Tensor,
    labels: Tensor,
    proxies: Tensor,
    proxy_labels: Tensor | None,
    scale: float | Tensor,
    positive: Tensor,
    moved: Tensor,
    negative: Tensor,
    label_smoothing: float,
    class_weights: Tensor | None,
) -> tuple[Tensor, Tensor | None]:  # (B,), (B,)
    """(1 - smoothing) w_y loss + smoothing / C sum_j w_j (-log p_j), p_j the part of proxy j; and w_y."""
    rows = _cross_entropy(moved, negative)
    classes = classes_of(proxies, proxy_labels)
    weights = None if class_weights is None else class_weights[labels.long()].to(rows.dtype)
    weighted = rows if weights is None else weights * rows
    if label_smoothing == 0:
        return weighted, weights
    logits = cosines(embeddings, proxies)
    logits = torch.as_tensor(scale, dtype=logits.dtype, device=proxies.device)[..., None] * logits
    logits = torch.where(same_class(labels, classes), logits + (moved - positive)[:, None], logits)
    of_proxies = 1 if class_weights is None else class_weights[classes].to(rows.dtype)
    uniform = (of_proxies * -logits.log_softmax(dim=1)).mean(dim=1)
    return (1 - label_smoothing) * weighted + label_smoothing * uniform, weights


def _cross_entropy(positive: Tensor, negative: Tensor) -> Tensor:  # (B,)
    """-(positive - logsumexp(positive, negative)), exact also when it is tiny."""
    return torch.logaddexp(torch.zeros_like(positive), negative - positive)
