"""SubCenter-ArcFace: several centres per class, of which the nearest counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from dmlkernels.distributed.agreement import across_ranks
from dmlkernels.functional.angles import check_angle
from dmlkernels.functional.checks import check_option
from dmlkernels.functional.cross_entropy import angular_loss, class_scores, softmax_inputs, weights_of_samples
from dmlkernels.functional.soft_triple import check_centers, check_centers_per_class

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


@across_ranks
def sub_center_arcface_loss(
    embeddings: Tensor,  # (B, D)
    labels: Tensor,  # (B,)
    centers: Tensor,  # (C * K, D)
    *,
    centers_per_class: int = 3,
    scale: float | Tensor = 64.0,
    margin: float | Tensor = 0.5,
    sample_weight: Tensor | None = None,  # (B,)
    class_weights: Tensor | None = None,  # (C,)
    reduction: str = "mean",
    ignore_index: int = -100,
    backend: str = "auto",
    validate: bool = False,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    """ArcFace with the score ``max_k s_ck`` of each class's nearest centre.

    Deng et al., Sub-center ArcFace: Boosting Face Recognition by Large-Scale Noisy Web Faces, ECCV 2020. In
    pytorch-metric-learning ``SubCenterArcFaceLoss(sub_centers=K)``, whose margin is in degrees.

    Args:
        embeddings: (B, D) samples of any scale; float16, bfloat16, float32 or float64.
        labels: (B,) class of each sample, integers; rows with ``ignore_index`` take no part.
        centers: (C * K, D) centres of any scale; centre k of class c is row ``c * K + k``.
        centers_per_class: K, at least 1.
        scale: multiplies the cosines, as in ``normalized_softmax_loss``; (1, C) is for C classes.
        margin: as in ``arcface_loss``, likewise.
        sample_weight, class_weights, reduction, ignore_index, validate, process_group: as in
            ``normalized_softmax_loss``.
        backend: as in ``soft_triple_loss``.

    Returns:
        Scalar, or (B,) for "none"; float32, or float64 if an input is float64.

    Raises: as ``soft_triple_loss``.

    Gradients: as ``arcface_loss``; of the centres of a class only the nearest gets one, of equally near ones the first.

    Memory and determinism: O((B + C K) D), no B x C matrix. Repeatable bit for bit on one device.

    Example:
        >>> import torch
        >>> from dmlkernels import sub_center_arcface_loss
        >>> centers = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        >>> labels = torch.tensor([0, 1])
        >>> sub_center_arcface_loss(torch.eye(2), labels, centers, centers_per_class=2, scale=1.0)
        tensor(0.3476)
    """
    scale = check_option("scale", scale, above=0)
    margin = check_angle("margin", margin)
    check_centers_per_class(centers_per_class)
    check_centers(centers, centers_per_class)
    inputs = softmax_inputs(
        embeddings, labels, centers, None, sample_weight, class_weights, reduction, ignore_index, backend, validate,
        process_group, proxies_name="centers", proxies_per_label=centers_per_class,
    )  # fmt: skip
    margin = inputs.per_sample("margin", margin, centers_per_class)
    scale = inputs.per_sample("scale", scale, centers_per_class)
    weights = weights_of_samples(inputs, class_weights, centers_per_class)
    return angular_loss(
        inputs, class_scores(inputs, scale, group=centers_per_class), scale, margin,
        weights=weights, sample_weight=sample_weight, reduction=reduction,
    )  # fmt: skip
