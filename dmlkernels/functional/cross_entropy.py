"""What the losses of the softmax family share: arguments, scores of positives and negatives, smoothing, the mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dmlkernels.functional.inputs import ProxyInputs, proxy_inputs
from dmlkernels.functional.per_sample import check_class_weights, per_sample
from dmlkernels.functional.reduction import check_reduction, reduce_samples, reduce_statistics
from dmlkernels.functional.sampling import Sampling
from dmlkernels.functional.smoothing import smoothed
from dmlkernels.ops import Formula
from dmlkernels.statistics import LogSumExp, RowLogSumExp

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def softmax_inputs(
    embeddings: Tensor,
    labels: Tensor,
    proxies: Tensor,
    proxy_labels: Tensor | None,
    sample_weight: Tensor | None,
    class_weights: Tensor | None,
    reduction: str,
    ignore_index: int,
    backend: str,
    validate: bool,
    process_group: ProcessGroup | None,
    **more: Any,
) -> ProxyInputs:
    """Check and resolve the arguments that these losses have; ``more`` as in ``proxy_inputs``."""
    check_reduction(reduction, sample_weight, embeddings)
    check_class_weights(class_weights)
    return proxy_inputs(
        embeddings, labels, proxies, proxy_labels,
        ignore_index=ignore_index, backend=backend, validate=validate, process_group=process_group, **more,
    )  # fmt: skip


def class_scores(
    inputs: ProxyInputs,
    scale: float | Tensor,
    sampling: Sampling | None = None,
    *,
    threshold: Tensor | None = None,  # (B,)
    hardness: float | Tensor = 0.0,
) -> Tensor:  # (B, 2)
    """Log-sum-exp of the scaled scores over the positives (the proxies of the sample's class) and over the negatives.

    With a ``threshold`` a negative score s above it counts as ``s (hardness + s)``. With ``sampling`` only the classes
    drawn take part.
    """
    if sampling is not None:
        inputs = inputs.sampled(*sampling)
    if not isinstance(scale, Tensor) and threshold is None:
        return inputs.statistics(LogSumExp(scale, scale))
    rows = [scale, torch.inf if threshold is None else threshold, hardness]
    like = inputs.embeddings.new_empty((), dtype=inputs.dtype)
    row_values = torch.stack([_expanded(value, like, inputs.labels.shape) for value in rows], dim=1)
    return inputs.statistics(RowLogSumExp(), row_values)[:, :2]


def cross_entropy(positive: Tensor, negative: Tensor) -> Tensor:  # (B,)
    """-(positive - logsumexp(positive, negative)), exact also where the probability is 0 or 1 in floating point."""
    return F.softplus(negative - positive, threshold=50)


def cross_entropy_loss(
    inputs: ProxyInputs,
    statistics: Tensor,  # (B, 2), of ``class_scores`` or the like
    moved: Callable[[Tensor], Tensor],  # (B,) -> (B,), puts the margin on the positive scores
    *,
    formula: Formula | None = None,
    scale: float | Tensor = 1.0,
    label_smoothing: float = 0.0,
    weights: Tensor | None = None,  # (B,), of the class of each sample
    class_weights: Tensor | None = None,  # (C,), needed to smooth labels
    sample_weight: Tensor | None = None,  # (B,)
    reduction: str = "mean",
    beside: Tensor | float = 0.0,  # (B,), to add to each sample's loss
) -> Tensor:
    """Cross-entropy with smoothed targets and weights; the mean divides by the sum of the weights.

    ``formula`` names kernels for the plain mean or sum, if there are any.
    """
    if formula is not None and label_smoothing == 0 and weights is None:
        return reduce_statistics(
            formula, lambda positive, negative: cross_entropy(moved(positive), negative), statistics, inputs,
            sample_weight, reduction,
        )  # fmt: skip
    positive, negative = statistics.unbind(1)
    target = moved(positive)
    losses = cross_entropy(target, negative) + beside
    if label_smoothing > 0:
        shift = target - positive
        losses = smoothed(inputs, scale, losses, target + losses, shift, label_smoothing, class_weights, weights)
    elif weights is not None:
        losses = losses * weights
    return reduce_samples(losses, inputs, sample_weight, reduction, weights)


def weights_of_samples(
    inputs: ProxyInputs, class_weights: Tensor | None, group: int = 1
) -> Tensor | None:  # (C,) -> (B,)
    """The weight of each sample's class."""
    if class_weights is None:
        return None
    weights = per_sample("class_weights", class_weights.detach()[None], inputs, group)
    assert isinstance(weights, Tensor)
    return weights


def _expanded(value: float | Tensor, like: Tensor, shape: torch.Size) -> Tensor:
    if not isinstance(value, Tensor):
        return like.new_full(shape, value)
    return value.to(like.dtype).expand(shape)
