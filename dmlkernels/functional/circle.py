"""Circle loss with proxies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from dmlkernels.distributed.agreement import across_ranks
from dmlkernels.functional.checks import check_flag, check_option
from dmlkernels.functional.cross_entropy import Scores, cross_entropy_loss, row_values, softmax_inputs
from dmlkernels.ops import Formula
from dmlkernels.statistics import Circle, RowCircle

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


@across_ranks
def circle_loss(
    embeddings: Tensor,  # (B, D)
    labels: Tensor,  # (B,)
    proxies: Tensor,  # (C, D)
    *,
    scale: float | Tensor = 256.0,
    margin: float | Tensor = 0.25,
    detach_weights: bool = True,
    proxy_labels: Tensor | None = None,  # (C,)
    sample_weight: Tensor | None = None,  # (B,)
    reduction: str = "mean",
    ignore_index: int = -100,
    backend: str = "auto",
    validate: bool = False,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    """Circle loss with class-level labels.

    With the positive scores s_p of a sample's class and the negative ones s_n of all other proxies::

        log(1 + sum_n exp(scale max(s_n + m, 0) (s_n - m)) sum_p exp(-scale max(1 + m - s_p, 0) (s_p - 1 + m)))

    Sun et al., Circle Loss: A Unified Perspective of Pair Similarity Optimization, CVPR 2020, arXiv 2002.10857,
    equations 6 and 8, whose gamma is ``scale``. pytorch-metric-learning's ``CircleLoss(m, gamma)`` given the proxies as
    ``ref_emb`` is the mean of the same.

    Args:
        embeddings, labels, proxies: as in ``normalized_softmax_loss``.
        scale: multiplies the logits, above 0; one number, or a tensor as in ``normalized_softmax_loss``.
        margin: m, 0 to 1: a positive score is to reach 1 - m, a negative one to fall to m. One number, or a tensor of a
            shape that ``scale`` may have, whose values nobody checks.
        detach_weights: hold the weights max(.., 0) fixed in the gradient, as the paper does; else the true derivative.
        proxy_labels, sample_weight, reduction, ignore_index, backend, validate, process_group: as in
            ``normalized_softmax_loss``.

    Returns:
        Scalar, or (B,) for "none"; float32, or float64 if an input is float64.

    Raises, memory and determinism: as ``normalized_softmax_loss``.

    Gradients: of embeddings and proxies, and of a scale or margin that is a tensor, first order; see
    ``detach_weights``, which also holds for the margin in the weights.

    Example:
        >>> import torch
        >>> from dmlkernels import circle_loss
        >>> circle_loss(torch.eye(2), torch.tensor([0, 1]), torch.eye(2), scale=1.0)
        tensor(0.6326)
    """
    scale = check_option("scale", scale, above=0)
    margin = check_option("margin", margin, at_least=0, at_most=1)
    check_flag("detach_weights", detach_weights)
    inputs = softmax_inputs(
        embeddings, labels, proxies, proxy_labels, sample_weight, None, reduction, ignore_index, backend, validate,
        process_group,
    )  # fmt: skip
    scale, margin = inputs.per_sample("scale", scale), inputs.per_sample("margin", margin)
    if isinstance(scale, Tensor) or isinstance(margin, Tensor):
        scores = Scores(RowCircle(float(detach_weights)), row_values(inputs, scale, margin))
    else:
        scores = Scores(Circle(scale, margin, float(detach_weights)))
    return cross_entropy_loss(
        inputs, scores, lambda positive: -positive,
        formula=Formula("joint", ()), sample_weight=sample_weight, reduction=reduction,
    )  # fmt: skip
