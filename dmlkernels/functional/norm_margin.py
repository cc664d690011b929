"""Margins that depend on the norm of the embedding: AdaFace and MagFace."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dmlkernels.distributed.agreement import across_ranks
from dmlkernels.functional.angles import add_angle
from dmlkernels.functional.checks import check_number, check_option, check_scalar
from dmlkernels.functional.cross_entropy import (
    class_scores,
    cross_entropy_loss,
    formula_of,
    softmax_inputs,
    weights_of_samples,
)
from dmlkernels.functional.inputs import ProxyInputs
from dmlkernels.functional.running import check_momentum, update_running
from dmlkernels.ops import norm_quality, row_norms
from dmlkernels.ops.margins import suits

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

_SHORTEST, _LONGEST, _EPS = 1e-3, 100.0, 1e-3  # the authors'


@partial(across_ranks, updates=("norm_mean", "norm_std"))
def adaface_loss(
    embeddings: Tensor,  # (B, D)
    labels: Tensor,  # (B,)
    proxies: Tensor,  # (C, D)
    *,
    scale: float | Tensor = 64.0,
    margin: float = 0.4,
    concentration: float = 0.333,
    norm_mean: float | Tensor | None = None,  # ()
    norm_std: float | Tensor | None = None,  # ()
    momentum: float | None = None,
    proxy_labels: Tensor | None = None,  # (C,)
    sample_weight: Tensor | None = None,  # (B,)
    class_weights: Tensor | None = None,  # (C,)
    reduction: str = "mean",
    ignore_index: int = -100,
    backend: str = "auto",
    validate: bool = False,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    """AdaFace: an angular and an additive margin that follow the image's quality, as the embedding's norm tells it.

    With the norm, held between 1e-3 and 100, standardised to ``z = (norm - norm_mean) / (norm_std + 1e-3)`` and
    ``q = clip(concentration z, -1, 1)``, a positive cosine becomes ``cos(theta_y - margin q) - margin (1 + q)``. The
    angle is held between 1e-3 and pi - 1e-3, as the authors do. Kim et al., AdaFace: Quality Adaptive Margin for Face
    Recognition, CVPR 2022, arXiv 2204.00964. ``AdaFaceLoss`` keeps the running statistics.

    Args:
        embeddings, labels, proxies: as in ``normalized_softmax_loss``. The norms must be the network's own.
        scale: multiplies the cosines, as in ``normalized_softmax_loss``.
        margin: m, radians, 0 to pi / 2.
        concentration: h, above 0: within 1 / h standard deviations the margins change.
        norm_mean, norm_std: of the norms, each one number or a () tensor; default those of the batch.
        momentum: None, or 0 to 1 to update both tensors in place first, as batch normalisation does: ``momentum`` times
            the old value plus the rest times that of the batch, unless the latter is not finite.
        proxy_labels, sample_weight, class_weights, reduction, ignore_index, backend, validate, process_group: as in
            ``normalized_softmax_loss``.

    Returns:
        Scalar, or (B,) for "none"; float32, or float64 if an input is float64.

    Raises, memory and determinism: as ``normalized_softmax_loss``.

    Gradients: of embeddings and proxies, and of a scale that is a tensor. The margins are held fixed, as the authors
    do; where the angle is held, the positive score has none.

    Example:
        >>> import torch
        >>> from dmlkernels import adaface_loss
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
        >>> adaface_loss(x, torch.tensor([0, 1]), torch.eye(2), scale=1.0)
        tensor(0.4392)
    """
    scale = check_option("scale", scale, above=0)
    margin = check_number("margin", margin, at_least=0)
    if margin > math.pi / 2:
        raise ValueError(f"margin: got {margin}, expected radians from 0 to pi / 2")
    concentration = check_number("concentration", concentration, above=0)
    if norm_mean is not None:
        norm_mean = check_scalar("norm_mean", norm_mean, above=0)
    if norm_std is not None:
        norm_std = check_scalar("norm_std", norm_std, at_least=0)
    momentum = check_momentum(momentum, norm_mean=norm_mean, norm_std=norm_std)
    inputs = softmax_inputs(
        embeddings, labels, proxies, proxy_labels, sample_weight, class_weights, reduction, ignore_index, backend,
        validate, process_group,
    )  # fmt: skip
    scale = inputs.per_sample("scale", scale)
    weights = weights_of_samples(inputs, class_weights)
    quality = quality_of(inputs, norm_mean, norm_std, momentum, concentration)
    return cross_entropy_loss(
        inputs, class_scores(inputs, scale),
        lambda positive: scale * (_turned(positive / scale, -margin * quality) - margin * (1 + quality)),
        formula=formula_of("turned", scale, margin, _EPS), values=quality[:, None],
        weights=weights, sample_weight=sample_weight, reduction=reduction,
    )  # fmt: skip


@across_ranks
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
    backend: str = "auto",
    validate: bool = False,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    """MagFace: ArcFace whose margin grows with the embedding's norm, and a term that draws norms up.

    With a the norm held between the two bounds, ``m(a)`` the line from ``lower_margin`` at ``lower_norm`` to
    ``upper_margin`` at ``upper_norm``, and ``g(a) = a / upper_norm^2 + 1 / a``, a sample's loss is that of ``ArcFace``
    at the margin m(a), plus ``regularizer_weight g(a)``. Meng et al., MagFace: A Universal Representation for Face
    Recognition and Quality Assessment, CVPR 2021, arXiv 2103.06627.

    Args:
        embeddings, labels, proxies: as in ``normalized_softmax_loss``. The norms must be the network's own.
        scale: multiplies the cosines, as in ``normalized_softmax_loss``.
        lower_norm, upper_norm: bounds of the norm, above 0, the upper one above the lower one.
        lower_margin, upper_margin: radians, 0 to pi, the upper one at least the lower one.
        regularizer_weight: lambda_g, at least 0.
        proxy_labels, sample_weight, class_weights, reduction, ignore_index, backend, validate, process_group: as in
            ``normalized_softmax_loss``.

    Returns:
        Scalar, or (B,) for "none"; float32, or float64 if an input is float64.

    Raises, memory and determinism: as ``normalized_softmax_loss``.

    Gradients: the true derivative, of the embeddings also through their norms; of a norm beyond its bounds none.

    Example:
        >>> import torch
        >>> from dmlkernels import magface_loss
        >>> magface_loss(20 * torch.eye(2), torch.tensor([0, 1]), torch.eye(2), scale=1.0, regularizer_weight=1.0)
        tensor(0.3973)
    """
    scale = check_option("scale", scale, above=0)
    lower_norm, upper_norm = (
        check_number("lower_norm", lower_norm, above=0),
        check_number("upper_norm", upper_norm, above=0),
    )
    if upper_norm <= lower_norm:
        raise ValueError(f"upper_norm: got {upper_norm}, expected a number above lower_norm={lower_norm}")
    lower_margin = check_number("lower_margin", lower_margin, at_least=0)
    upper_margin = check_number("upper_margin", upper_margin, at_least=0)
    if not lower_margin <= upper_margin <= math.pi:
        raise ValueError(f"upper_margin: got {upper_margin}, expected radians from lower_margin={lower_margin} to pi")
    regularizer_weight = check_number("regularizer_weight", regularizer_weight, at_least=0)
    inputs = softmax_inputs(
        embeddings, labels, proxies, proxy_labels, sample_weight, class_weights, reduction, ignore_index, backend,
        validate, process_group,
    )  # fmt: skip
    scale = inputs.per_sample("scale", scale)
    weights = weights_of_samples(inputs, class_weights)
    norms, rate = norms_of(inputs), (upper_margin - lower_margin) / (upper_norm - lower_norm)

    def held() -> Tensor:
        return norms.clamp(lower_norm, upper_norm)

    def moved(positive: Tensor) -> Tensor:
        return scale * add_angle(positive / scale, lower_margin + rate * (held() - lower_norm))

    return cross_entropy_loss(
        inputs, class_scores(inputs, scale), moved,
        formula=formula_of("magnified", scale, lower_norm, upper_norm, lower_margin, rate, regularizer_weight),
        values=norms[:, None], weights=weights, sample_weight=sample_weight, reduction=reduction,
        beside=lambda: regularizer_weight * (held() / upper_norm**2 + 1 / held()),
    )  # fmt: skip


@torch.no_grad()
def quality_of(
    inputs: ProxyInputs,
    norm_mean: float | Tensor | None,
    norm_std: float | Tensor | None,
    momentum: float | None,
    concentration: float,
) -> Tensor:  # (B,)
    """How far the norm of each sample is above or below the mean, held between -1 and 1."""
    norms = norms_of(inputs)
    if inputs.has_kernels and suits(inputs.labels):
        return _quality_by_kernels(inputs, norms, norm_mean, norm_std, momentum, concentration)
    norms = norms.clamp(_SHORTEST, _LONGEST)
    if norm_mean is None or norm_std is None or momentum is not None:
        mean, std = spread_of(inputs, norms)
        if momentum is not None:
            update_running(norm_mean, mean, momentum)
            update_running(norm_std, std, momentum)
        norm_mean, norm_std = mean if norm_mean is None else norm_mean, std if norm_std is None else norm_std
    return ((norms - norm_mean) / (norm_std + _EPS) * concentration).clamp(-1, 1)


def _quality_by_kernels(
    inputs: ProxyInputs,
    norms: Tensor,
    norm_mean: float | Tensor | None,
    norm_std: float | Tensor | None,
    momentum: float | None,
    concentration: float,
) -> Tensor:
    running = [value if isinstance(value, Tensor) else None for value in (norm_mean, norm_std)]
    numbers = [value if isinstance(value, float) else None for value in (norm_mean, norm_std)]
    options = (_SHORTEST, _LONGEST, _EPS, concentration, momentum or 0.0, *(value or 0.0 for value in numbers))
    given = (value is not None for value in numbers)
    quality, found = norm_quality(norms, inputs.labels, *running, options, *given, momentum is not None)
    for value, new in zip(running, found.unbind(), strict=True):
        if value is not None and momentum is not None:
            value.copy_(new)
    return quality


def norms_of(inputs: ProxyInputs) -> Tensor:  # (B,)
    """L2 norms of the embeddings; those of ignored rows, which may hold anything, are 0."""
    if inputs.has_kernels and suits(inputs.labels):
        return row_norms(inputs.embeddings, inputs.labels).to(inputs.dtype)
    kept = torch.where(inputs.valid[:, None], inputs.embeddings, 0).to(inputs.dtype)
    return torch.linalg.vector_norm(kept, dim=1)


def spread_of(inputs: ProxyInputs, norms: Tensor) -> tuple[Tensor, Tensor]:  # (), ()
    """Mean and unbiased standard deviation of the norms of the whole batch; of a single one the latter is 0."""
    valid = inputs.valid.to(norms.dtype)
    total, count = inputs.totals((norms * valid).sum(), valid.sum())
    mean = total / count
    squares, _ = inputs.totals(((norms - mean).square() * valid).sum(), valid.sum())
    return mean, (squares / (count - 1).clamp_min(1)).sqrt()


def _turned(cosine: Tensor, angle: Tensor) -> Tensor:
    """cos(theta + angle), the sum held between 1e-3 and pi - 1e-3."""
    squared_sine = ((1 - cosine) * (1 + cosine)).clamp_min(0)
    sine = squared_sine * squared_sine.clamp_min(torch.finfo(cosine.dtype).eps).rsqrt()
    turned = cosine * angle.cos() - sine * angle.sin()
    low = (angle < _EPS) & (cosine > (_EPS - angle).cos())
    high = (angle > -_EPS) & (cosine < -(_EPS + angle).cos())
    limit = math.cos(_EPS)
    return torch.where(low, limit, torch.where(high, -limit, turned))
