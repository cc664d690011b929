"""Normalised softmax, Proxy-NCA, CosFace and ArcFace: a margin on the positive score, then cross-entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dmlkernels.distributed.agreement import across_ranks
from dmlkernels.functional.angles import check_angle
from dmlkernels.functional.checks import check_flag, check_number, check_option
from dmlkernels.functional.cross_entropy import (
    angular_loss,
    checked_sampling,
    class_scores,
    cross_entropy_loss,
    drawn,
    formula_of,
    softmax_inputs,
    weights_of_samples,
)

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


@across_ranks
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
    backend: str = "auto",
    validate: bool = False,
    process_group: ProcessGroup | None = None,
    sample_classes: float | None = None,
    sample_generator: torch.Generator | None = None,
    sparse: bool = False,
) -> Tensor:
    """Normalised softmax: cross-entropy of scaled cosines with the proxies.

    ``-log softmax_y(scale * s)`` with s the cosines. If several proxies share a class their terms add up in the
    numerator (ours). Zhai and Wu, Classification is a Strong Baseline for Deep Metric Learning, BMVC 2019,
    arXiv 1811.12649. pytorch-metric-learning's ``NormalizedSoftmaxLoss(temperature=t)`` is ``scale=1/t``, its
    ``ProxyNCALoss(softmax_scale=t)`` is ``scale=2t``.

    Args:
        embeddings: (B, D) samples of any scale; float16, bfloat16, float32 or float64.
        labels: (B,) class of each sample, integers; rows with ``ignore_index`` take no part.
        proxies: (C, D) proxies of any scale; any floating type, usually float32.
        scale: multiplies the cosines, above 0: one number, or a tensor of floats, () for all samples, (B,) or (B, 1)
            for samples, (C,) or (1, C) for classes of samples; of one dimension only where B and C differ. Nobody
            checks the values of a tensor, which would synchronise.
        proxy_labels: (C,) class of each proxy, several may share one; default 0 to C - 1.
        sample_weight: (B,) weight of each sample, floats; the mean divides by the sum of all weights.
        class_weights: (C,) weight of each class, floats, held fixed; as in ``torch.nn.functional.cross_entropy``.
        label_smoothing: part of the target that all proxies share alike, at least 0 and below 1; as there. With
            ``sample_classes`` those that take part share it (ours).
        reduction: "mean", "sum", or "none" for (B,) losses, 0 for ignored rows.
        ignore_index: label of rows to leave out.
        backend: "auto", "torch", "triton" or "native".
        validate: check the labels on a GPU too, which synchronises; see ``validation``.
        process_group: ranks that each have a part of one batch, or None for this rank's samples alone.
        sample_classes: fraction of the classes that take part in a step, above 0 and at most 1: all of the batch, and
            others drawn anew. With sharded proxies a fraction of each shard. An et al., Killing Two Birds with One
            Stone: Efficient and Robust Training of Face Recognition CNNs by Partial FC, CVPR 2022, arXiv 2203.15565.
            None: all classes.
        sample_generator: for the draw.
        sparse: with ``sample_classes``, the gradient of the proxies is a sparse tensor of the rows that took part, for
            ``torch.optim.SparseAdam``, ``Adagrad`` and ``SGD``, which leave all other rows and their state as they
            are. Not with sharded proxies, whose gradient has zeros there: plain ``SGD`` leaves such rows as they are.

    Returns:
        Scalar, or (B,) for "none"; float32, or float64 if an input is float64. A sample whose probability
        underflows keeps its loss and its gradient.

    Raises:
        ValueError: shapes, devices or options that do not fit; a label that is no proxy's class, or for whose class no
            scale is given (on a GPU: NaN); all rows ignored.
        TypeError: a wrong dtype.
        RuntimeError: the backend asked for cannot run here.

    Gradients: of embeddings and proxies, and of a scale that is a tensor, first order; each is computed only if needed.

    Memory and determinism: O((B + C) D), no B x C matrix. Repeatable bit for bit on one device.

    Example:
        >>> import torch
        >>> from dmlkernels import normalized_softmax_loss
        >>> normalized_softmax_loss(torch.eye(2), torch.tensor([0, 1]), torch.eye(2), scale=1.0)
        tensor(0.3133)
    """
    scale = check_option("scale", scale, above=0)
    label_smoothing = check_number("label_smoothing", label_smoothing, at_least=0, below=1)
    sampling = checked_sampling(sample_classes, sample_generator, sparse, proxy_labels)
    inputs = softmax_inputs(
        embeddings, labels, proxies, proxy_labels, sample_weight, class_weights, reduction, ignore_index, backend,
        validate, process_group,
    )  # fmt: skip
    scale = inputs.per_sample("scale", scale)
    weights = weights_of_samples(inputs, class_weights)
    inputs = drawn(inputs, sampling)
    return cross_entropy_loss(
        inputs, class_scores(inputs, scale), lambda positive: positive,
        formula=formula_of("cross_entropy", 0.0), scale=scale, label_smoothing=label_smoothing,
        weights=weights, class_weights=class_weights, sample_weight=sample_weight,
        reduction=reduction,
    )  # fmt: skip


@across_ranks
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
    backend: str = "auto",
    validate: bool = False,
    process_group: ProcessGroup | None = None,
    sample_classes: float | None = None,
    sample_generator: torch.Generator | None = None,
    sparse: bool = False,
) -> Tensor:
    """Proxy-NCA++, and the original Proxy-NCA with ``include_positive=False``.

    ``-log softmax_y(scale * s)``, which is the normalised softmax at another scale; without the positive its class
    is left out of the denominator. Teh et al., ProxyNCA++, ECCV 2020, arXiv 2004.01113; Movshovitz-Attias et al., No
    Fuss Distance Metric Learning using Proxies, ICCV 2017, arXiv 1703.07464. Squared distances at temperature T are
    ``scale = 2 / T``.

    Args:
        embeddings, labels, proxies: as in ``normalized_softmax_loss``.
        scale: multiplies the cosines, as in ``normalized_softmax_loss``.
        include_positive: count the positive in the denominator.
        proxy_labels, sample_weight, class_weights, reduction, ignore_index, backend, validate,
            process_group, sample_classes, sample_generator, sparse: as in ``normalized_softmax_loss``.

    Returns:
        Scalar, or (B,) for "none"; float32, or float64 if an input is float64.

    Raises:
        As ``normalized_softmax_loss``; without the positive also a ValueError if all proxies share a class.

    Gradients, memory and determinism: as ``normalized_softmax_loss``.

    Example:
        >>> import torch
        >>> from dmlkernels import proxy_nca_loss
        >>> proxy_nca_loss(torch.eye(2), torch.tensor([0, 1]), torch.eye(2), include_positive=False)
        tensor(-18.)
    """
    check_flag("include_positive", include_positive)
    scale = check_option("scale", scale, above=0)
    sampling = checked_sampling(sample_classes, sample_generator, sparse, proxy_labels)
    inputs = softmax_inputs(
        embeddings, labels, proxies, proxy_labels, sample_weight, class_weights, reduction, ignore_index, backend,
        validate, process_group, needs_impostors=not include_positive,
    )  # fmt: skip
    scale = inputs.per_sample("scale", scale)
    weights = weights_of_samples(inputs, class_weights)
    inputs = drawn(inputs, sampling)
    return cross_entropy_loss(
        inputs, class_scores(inputs, scale), lambda positive: positive,
        formula=formula_of("cross_entropy", 0.0) if include_positive else formula_of("difference"),
        include_positive=include_positive, weights=weights, sample_weight=sample_weight, reduction=reduction,
    )  # fmt: skip


@across_ranks
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
    backend: str = "auto",
    validate: bool = False,
    process_group: ProcessGroup | None = None,
    sample_classes: float | None = None,
    sample_generator: torch.Generator | None = None,
    sparse: bool = False,
) -> Tensor:
    """CosFace: normalised softmax with ``s_y - margin`` for the positive.

    Wang et al., CosFace: Large Margin Cosine Loss for Deep Face Recognition, CVPR 2018, arXiv 1801.09414.

    Args:
        embeddings, labels, proxies: as in ``normalized_softmax_loss``.
        scale: multiplies the cosines, as in ``normalized_softmax_loss``.
        margin: taken off the positive cosine: one number, or a tensor of a shape that ``scale`` may have.
        proxy_labels, sample_weight, class_weights, label_smoothing, reduction, ignore_index, backend, validate,
            process_group, sample_classes, sample_generator, sparse: as in ``normalized_softmax_loss``.

    Returns:
        Scalar, or (B,) for "none"; float32, or float64 if an input is float64.

    Raises: as ``normalized_softmax_loss``.

    Gradients: as ``normalized_softmax_loss``, and of a margin that is a tensor.

    Memory and determinism: as ``normalized_softmax_loss``.

    Example:
        >>> import torch
        >>> from dmlkernels import cosface_loss
        >>> cosface_loss(torch.eye(2), torch.tensor([0, 1]), torch.eye(2), scale=1.0)
        tensor(0.4201)
    """
    margin = check_option("margin", margin)
    scale = check_option("scale", scale, above=0)
    label_smoothing = check_number("label_smoothing", label_smoothing, at_least=0, below=1)
    sampling = checked_sampling(sample_classes, sample_generator, sparse, proxy_labels)
    inputs = softmax_inputs(
        embeddings, labels, proxies, proxy_labels, sample_weight, class_weights, reduction, ignore_index, backend,
        validate, process_group,
    )  # fmt: skip
    margin = inputs.per_sample("margin", margin)
    scale = inputs.per_sample("scale", scale)
    weights = weights_of_samples(inputs, class_weights)
    inputs = drawn(inputs, sampling)
    return cross_entropy_loss(
        inputs, class_scores(inputs, scale), lambda positive: positive - scale * margin,
        formula=formula_of("cross_entropy", scale * margin), scale=scale, label_smoothing=label_smoothing,
        weights=weights, class_weights=class_weights, sample_weight=sample_weight,
        reduction=reduction,
    )  # fmt: skip


@across_ranks
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
    backend: str = "auto",
    validate: bool = False,
    process_group: ProcessGroup | None = None,
    sample_classes: float | None = None,
    sample_generator: torch.Generator | None = None,
    sparse: bool = False,
) -> Tensor:
    """ArcFace: normalised softmax with ``cos(theta_y + margin)`` for the positive.

    Beyond ``theta = pi - margin`` it goes on as ``s_y - margin sin(margin)``, so that the target keeps falling; above a
    margin of 2.33, where that line would begin above -1, as ``s_y - (1 - cos(margin))`` (ours). Deng et al., ArcFace:
    Additive Angular Margin Loss for Deep Face Recognition, CVPR 2019, arXiv 1801.07698. The margin is in radians (in
    pytorch-metric-learning: degrees).

    Args:
        embeddings, labels, proxies: as in ``normalized_softmax_loss``.
        scale: multiplies the cosines, as in ``normalized_softmax_loss``.
        margin: added to the angle to the positive, radians, 0 to pi. Warns above pi / 2: degrees may have been meant.
            One number, or a tensor of a shape that ``scale`` may have, whose values nobody checks.
        proxy_labels, sample_weight, class_weights, label_smoothing, reduction, ignore_index, backend, validate,
            process_group, sample_classes, sample_generator, sparse: as in ``normalized_softmax_loss``. If
            several proxies share a class the margin goes on their joint score, logsumexp(scale s) / scale (ours).

    Returns:
        Scalar, or (B,) for "none"; float32, or float64 if an input is float64.

    Raises, memory and determinism: as ``normalized_softmax_loss``.

    Gradients: the true derivative of the value, also of a margin that is a tensor. The sine's slope is infinite at a
    cosine of +-1; within rounding of it the sine goes straight to 0 (ours), which keeps the gradient finite.

    Example:
        >>> import torch
        >>> from dmlkernels import arcface_loss
        >>> arcface_loss(torch.eye(2), torch.tensor([0, 1]), torch.eye(2), scale=1.0)
        tensor(0.3476)
    """
    margin = check_angle("margin", margin)
    scale = check_option("scale", scale, above=0)
    label_smoothing = check_number("label_smoothing", label_smoothing, at_least=0, below=1)
    sampling = checked_sampling(sample_classes, sample_generator, sparse, proxy_labels)
    inputs = softmax_inputs(
        embeddings, labels, proxies, proxy_labels, sample_weight, class_weights, reduction, ignore_index, backend,
        validate, process_group,
    )  # fmt: skip
    margin = inputs.per_sample("margin", margin)
    scale = inputs.per_sample("scale", scale)
    weights = weights_of_samples(inputs, class_weights)
    inputs = drawn(inputs, sampling)
    return angular_loss(
        inputs, class_scores(inputs, scale), scale, margin, label_smoothing=label_smoothing,
        weights=weights, class_weights=class_weights, sample_weight=sample_weight,
        reduction=reduction,
    )  # fmt: skip
