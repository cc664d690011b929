"""What the losses of the softmax family share: arguments, scores of positives and negatives, smoothing, the mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dmlkernels.functional.angles import add_angle, angle_numbers
from dmlkernels.functional.checks import check_flag, check_number
from dmlkernels.functional.inputs import ProxyInputs, proxy_inputs
from dmlkernels.functional.per_sample import check_class_weights
from dmlkernels.functional.reduction import check_reduction, reduce_samples
from dmlkernels.functional.smoothing import smoothed
from dmlkernels.ops import Formula
from dmlkernels.statistics import LogSumExp, RowLogSumExp, RowSubCenter, Statistic, SubCenter

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class Sampling(NamedTuple):
    """How classes are drawn."""

    fraction: float
    generator: torch.Generator | None
    sparse: bool


def checked_sampling(
    fraction: float | None, generator: torch.Generator | None, sparse: bool, proxy_labels: Tensor | None
) -> Sampling | None:
    """The options of class sampling; None where all classes take part."""
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"sample_generator: got {type(generator).__name__}, expected a torch.Generator or None")
    check_flag("sparse", sparse)
    if fraction is None:
        if sparse:
            raise ValueError("sparse: got True without sample_classes: every row has a gradient")
        return None
    fraction = check_number("sample_classes", fraction, above=0, at_most=1)
    if proxy_labels is not None:
        raise ValueError("sample_classes: came with proxy_labels, expected one proxy for each class")
    return Sampling(fraction, generator, sparse)


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
    if class_weights is not None:
        check_class_weights(class_weights)
    return proxy_inputs(
        embeddings, labels, proxies, proxy_labels,
        ignore_index=ignore_index, backend=backend, validate=validate, process_group=process_group, **more,
    )  # fmt: skip


def drawn(inputs: ProxyInputs, sampling: Sampling | None) -> ProxyInputs:
    """Only the classes drawn; what depends on all classes, such as options of classes, comes before."""
    return inputs if sampling is None else inputs.sampled(*sampling)


class Scores(NamedTuple):
    """A statistic of the samples' scores, of two or more numbers, that is yet to be computed."""

    statistic: Statistic
    row_values: Tensor | None = None


def class_scores(inputs: ProxyInputs, scale: float | Tensor, *, group: int = 1) -> Scores:
    """Log-sum-exp of the scaled scores over the positives (the proxies of the sample's class) and over the negatives.

    With a ``group`` a class's score is that of the nearest of so many neighbouring proxies.
    """
    if not isinstance(scale, Tensor):
        return Scores(LogSumExp(scale, scale) if group == 1 else SubCenter(scale, group))
    values = row_values(inputs, scale, torch.inf, 0.0)  # the others are CurricularFace's
    return Scores(RowLogSumExp() if group == 1 else RowSubCenter(group), values)


def cross_entropy(positive: Tensor, negative: Tensor) -> Tensor:  # (B,)
    """-(positive - logsumexp(positive, negative)), exact also where the probability is 0 or 1 in floating point."""
    return F.softplus(negative - positive, threshold=50)


def cross_entropy_loss(
    inputs: ProxyInputs,
    scores: Scores,  # of which the first two numbers are read
    moved: Callable[[Tensor], Tensor],  # (B,) -> (B,), puts the margin on the positive scores
    *,
    formula: Formula | None = None,
    values: Tensor | None = None,  # (B, k), that the formula reads
    include_positive: bool = True,  # in the denominator
    scale: float | Tensor = 1.0,
    label_smoothing: float = 0.0,
    weights: Tensor | None = None,  # (B,), of the class of each sample
    class_weights: Tensor | None = None,  # (C,), needed to smooth labels
    sample_weight: Tensor | None = None,  # (B,)
    reduction: str = "mean",
    beside: Callable[[], Tensor] | None = None,  # -> (B,), to add to each sample's loss
    added: Tensor | None = None,  # whose sum is added to the mean or sum
) -> Tensor:
    """Cross-entropy with smoothed targets and weights; the mean divides by the sum of the weights.

    ``formula`` and ``moved`` with ``beside`` are the same function: an engine evaluates the one where it can, PyTorch
    the other everywhere else. What changes here changes in ``backends/triton/formulas`` and ``csrc/cpu/formulas.cpp``.
    """
    if formula is not None and label_smoothing == 0 and reduction != "none":
        weight = sample_weight if weights is None else weights if sample_weight is None else weights * sample_weight
        of_formula: dict[str, Any] = {"values": values, "added": added, "weight": weight, "mean": reduction == "mean"}
        loss = inputs.loss(formula, *scores, **of_formula)
        if loss is not None:
            return loss
    statistics = inputs.statistics(*scores)
    positive, negative = (statistics if statistics.shape[1] == 2 else statistics[:, :2]).unbind(1)
    target = moved(positive)
    losses = cross_entropy(target, negative) if include_positive else negative - target
    if beside is not None:
        losses = losses + beside()
    if label_smoothing > 0:
        shift = target - positive
        losses = smoothed(inputs, scale, losses, target + losses, shift, label_smoothing, class_weights, weights)
    elif weights is not None:
        losses = losses * weights
    loss = reduce_samples(losses, inputs, sample_weight, reduction, weights)
    return loss if added is None else loss + added.sum()


def formula_of(name: str, *numbers: float | Tensor) -> Formula | None:
    """The formula with these options: there are kernels for numbers, not for tensors."""
    known = tuple(value for value in numbers if not isinstance(value, Tensor))
    return Formula(name, known) if len(known) == len(numbers) else None


def angular_loss(
    inputs: ProxyInputs,
    scores: Scores,
    scale: float | Tensor,
    margin: float | Tensor,
    **options: Any,
) -> Tensor:
    """``cross_entropy_loss`` with the margin added to the angle of the positives; ``options`` are its own."""
    formula = None if isinstance(margin, Tensor) else formula_of("angle", scale, *angle_numbers(margin))
    return cross_entropy_loss(
        inputs, scores, lambda positive: scale * add_angle(positive / scale, margin),
        formula=formula, scale=scale, **options,
    )  # fmt: skip


def weights_of_samples(
    inputs: ProxyInputs, class_weights: Tensor | None, group: int = 1
) -> Tensor | None:  # (C,) -> (B,)
    """The weight of each sample's class."""
    if class_weights is None:
        return None
    weights = inputs.per_sample("class_weights", class_weights.detach()[None], group)
    assert isinstance(weights, Tensor)
    return weights


def row_values(inputs: ProxyInputs, *values: float | Tensor) -> Tensor:  # (B, number of values)
    """Options that are numbers, () or (B,) tensors, as a statistic takes them."""
    like = inputs.embeddings.new_empty((), dtype=inputs.dtype)
    return torch.stack([_expanded(value, like, inputs.labels.shape) for value in values], dim=1)


def _expanded(value: float | Tensor, like: Tensor, shape: torch.Size) -> Tensor:
    if not isinstance(value, Tensor):
        return like.new_full(shape, value)
    return value.to(like.dtype).expand(shape)
