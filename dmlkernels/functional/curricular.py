"""CurricularFace: negatives that are harder than the positive count for more as training goes on."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dmlkernels.distributed.agreement import across_ranks
from dmlkernels.functional.angles import check_angle
from dmlkernels.functional.checks import check_option, check_scalar
from dmlkernels.functional.cross_entropy import Scores, angular_loss, row_values, softmax_inputs, weights_of_samples
from dmlkernels.functional.inputs import ProxyInputs
from dmlkernels.functional.positive_cosines import mean_over_samples, positive_cosines
from dmlkernels.functional.running import check_momentum, update_running
from dmlkernels.ops import curricular_values
from dmlkernels.ops.running import set_running
from dmlkernels.statistics import RowLogSumExp

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


@partial(across_ranks, updates=("hardness",))
def curricularface_loss(
    embeddings: Tensor,  # (B, D)
    labels: Tensor,  # (B,)
    proxies: Tensor,  # (C, D)
    *,
    scale: float | Tensor = 64.0,
    margin: float | Tensor = 0.5,
    hardness: float | Tensor = 0.0,
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
    """CurricularFace: ArcFace in which a negative cosine s above ``cos(theta_y + margin)`` counts as ``s (t + s)``.

    t, the ``hardness``, is a running mean of the positive cosines, which ``CurricularFaceLoss`` keeps. Huang et al.,
    CurricularFace: Adaptive Curriculum Learning Loss for Deep Face Recognition, CVPR 2020, arXiv 2004.00288. Beyond
    theta = pi - margin the positive score goes on as in ``arcface_loss``.

    Args:
        embeddings, labels, proxies: as in ``normalized_softmax_loss``.
        scale: multiplies the cosines, as in ``normalized_softmax_loss``.
        margin: added to the angle to the positive, as in ``arcface_loss``.
        hardness: t, one number or a () tensor; held fixed.
        momentum: None, or 0 to 1 to update the tensor ``hardness`` in place first, as batch normalisation does:
            ``momentum`` times the old value plus the rest times the mean positive cosine, unless that is not finite.
        proxy_labels, sample_weight, class_weights, reduction, ignore_index, backend, validate, process_group: as in
            ``normalized_softmax_loss``. If several proxies share a class the positive cosine is their joint score,
            logsumexp(scale s) / scale (ours), which takes one more pass.

    Returns:
        Scalar, or (B,) for "none"; float32, or float64 if an input is float64.

    Raises, memory and determinism: as ``normalized_softmax_loss``.

    Gradients: as ``arcface_loss``. Which negatives are hard is held fixed: there the value jumps.

    Example:
        >>> import torch
        >>> from dmlkernels import curricularface_loss
        >>> x = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
        >>> curricularface_loss(x, torch.tensor([0, 1]), torch.eye(2), scale=1.0, hardness=0.5)
        tensor(0.6836)
    """
    scale = check_option("scale", scale, above=0)
    margin = check_angle("margin", margin)
    hardness = check_scalar("hardness", hardness)
    momentum = check_momentum(momentum, hardness=hardness)
    inputs = softmax_inputs(
        embeddings, labels, proxies, proxy_labels, sample_weight, class_weights, reduction, ignore_index, backend,
        validate, process_group,
    )  # fmt: skip
    scale, margin = inputs.per_sample("scale", scale), inputs.per_sample("margin", margin)
    weights = weights_of_samples(inputs, class_weights)
    values = _row_values(inputs, scale, margin, hardness, momentum)
    return angular_loss(
        inputs, Scores(RowLogSumExp(), values), scale, margin,
        weights=weights, sample_weight=sample_weight, reduction=reduction,
    )  # fmt: skip


def _row_values(
    inputs: ProxyInputs,
    scale: float | Tensor,
    margin: float | Tensor,
    hardness: float | Tensor,
    momentum: float | None,
) -> Tensor:  # (B, 3)
    """Scale, threshold and hardness of each sample; the latter moved first."""
    cosines = positive_cosines(inputs, scale)
    if inputs.has_row_kernels and not isinstance(scale, Tensor) and not isinstance(margin, Tensor):
        running, known = (hardness, 0.0) if isinstance(hardness, Tensor) else (None, hardness)
        numbers = (scale, math.cos(margin), math.sin(margin), known, momentum or 0.0)
        update = momentum is not None
        values, found = curricular_values(cosines, inputs.labels, inputs.poison, running, numbers, update)
        if running is not None and update:
            set_running(running, found[0])
        return values
    threshold = _added(cosines, margin)
    if momentum is not None:  # else there is nothing to exchange
        update_running(hardness, mean_over_samples(inputs, cosines) + inputs.poison, momentum)
    if isinstance(hardness, Tensor):
        hardness = inputs.per_sample("hardness", hardness.detach())
    return row_values(inputs, scale, threshold, hardness)


@torch.no_grad()
def _added(cosine: Tensor, margin: float | Tensor) -> Tensor:  # (B,)
    """cos(theta + margin), also beyond theta = pi - margin."""
    sine = ((1 - cosine) * (1 + cosine)).clamp_min(0).sqrt()
    if isinstance(margin, Tensor):
        return cosine * margin.cos() - sine * margin.sin()
    return cosine * math.cos(margin) - sine * math.sin(margin)
