"""MagFace: a margin that grows with the norm of the embedding, and a term that draws norms up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor

from dmlkernels.distributed.agreement import across_ranks
from dmlkernels.functional.angles import add_angle
from dmlkernels.functional.checks import check_number, check_option
from dmlkernels.functional.cross_entropy import (
    class_scores,
    cross_entropy_loss,
    formula_of,
    softmax_inputs,
    weights_of_samples,
)
from dmlkernels.functional.norms import norms_of

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


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

    def regularizer() -> Tensor:
        norm = held()
        return regularizer_weight * (norm / upper_norm**2 + 1 / norm)

    return cross_entropy_loss(
        inputs, class_scores(inputs, scale), moved,
        formula=formula_of("magnified", scale, lower_norm, upper_norm, lower_margin, rate, regularizer_weight),
        values=norms[:, None], weights=weights, sample_weight=sample_weight, reduction=reduction,
        beside=regularizer,
    )  # fmt: skip
