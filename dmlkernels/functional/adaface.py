"""AdaFace: margins that follow the norm of the embedding."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dmlkernels.distributed.agreement import across_ranks
from dmlkernels.functional.angles import sine_of
from dmlkernels.functional.checks import check_number, check_option, check_scalar
from dmlkernels.functional.cross_entropy import (
    class_scores,
    cross_entropy_loss,
    formula_of,
    softmax_inputs,
    weights_of_samples,
)
from dmlkernels.functional.inputs import ProxyInputs
from dmlkernels.functional.norms import norms_of
from dmlkernels.functional.running import check_momentum, update_running
from dmlkernels.ops import norm_quality
from dmlkernels.ops.running import set_running

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
        formula=formula_of("turned", scale, margin, _EPS, math.cos(_EPS)), values=quality[:, None],
        weights=weights, sample_weight=sample_weight, reduction=reduction,
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
    if inputs.has_row_kernels:
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
    numbers = [None if isinstance(value, Tensor) else value for value in (norm_mean, norm_std)]
    options = (_SHORTEST, _LONGEST, _EPS, concentration, momentum or 0.0, *(value or 0.0 for value in numbers))
    given = (value is not None for value in numbers)
    quality, found = norm_quality(norms, inputs.labels, *running, options, *given, momentum is not None)
    for value, new in zip(running, found.unbind(), strict=True):
        if value is not None and momentum is not None:
            set_running(value, new)
    return quality


def spread_of(inputs: ProxyInputs, norms: Tensor) -> tuple[Tensor, Tensor]:  # (), ()
    """Mean and unbiased standard deviation of the norms of the whole batch; of a single one the latter is 0."""
    valid = inputs.valid.to(norms.dtype)
    total, count = inputs.totals((norms * valid).sum(), valid.sum())
    mean = total / count
    squares, _ = inputs.totals(((norms - mean).square() * valid).sum(), valid.sum())
    return mean, (squares / (count - 1).clamp_min(1)).sqrt()


def _turned(cosine: Tensor, angle: Tensor) -> Tensor:
    """cos(theta + angle), the sum held between 1e-3 and pi - 1e-3."""
    turned = cosine * angle.cos() - sine_of(cosine) * angle.sin()
    low = (angle < _EPS) & (cosine > (_EPS - angle).cos())
    high = (angle > -_EPS) & (cosine < -(_EPS + angle).cos())
    limit = math.cos(_EPS)
    return torch.where(low, limit, torch.where(high, -limit, turned))
