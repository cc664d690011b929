"""AdaCos: the scale that a batch asks for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dmlkernels.distributed.agreement import across_ranks
from dmlkernels.functional.checks import check_scalar
from dmlkernels.functional.cross_entropy import class_scores
from dmlkernels.functional.inputs import proxy_inputs
from dmlkernels.functional.positive_cosines import positive_cosines

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


@across_ranks
@torch.no_grad()
def adacos_scale(
    embeddings: Tensor,  # (B, D)
    labels: Tensor,  # (B,)
    proxies: Tensor,  # (C, D)
    scale: float | Tensor,  # ()
    *,
    proxy_labels: Tensor | None = None,  # (C,)
    ignore_index: int = -100,
    backend: str = "auto",
    validate: bool = False,
    process_group: ProcessGroup | None = None,
) -> Tensor:  # ()
    """Compute the scale of the next step from the scores at the present one.

    ``log(B_avg) / cos(min(pi / 4, theta_med))``, with B_avg the mean over the batch of ``sum exp(scale s)`` over the
    other classes and theta_med the median of the angles to the positives. Zhang et al., AdaCos: Adaptively Scaling
    Cosine Logits for Effectively Learning Deep Face Representations, CVPR 2019, arXiv 1905.00292, equation 17. At least
    1 (ours): with few classes the logarithm may be negative.

    Args:
        embeddings, labels, proxies: as in ``normalized_softmax_loss``.
        scale: the present one: a number above 0, or a () tensor.
        proxy_labels, ignore_index, backend, validate, process_group: as in ``normalized_softmax_loss``.

    Returns:
        () tensor without a gradient, float32, or float64 if an input is float64. Nothing is read on the host.

    Raises:
        As ``normalized_softmax_loss``.

    Memory and determinism: as ``normalized_softmax_loss``.

    Example:
        >>> import math, torch
        >>> from dmlkernels import adacos_scale
        >>> x = torch.eye(8)
        >>> adacos_scale(x, torch.arange(8), x, math.sqrt(2) * math.log(7))
        tensor(1.9459)
    """
    scale = check_scalar("scale", scale, above=0)
    inputs = proxy_inputs(
        embeddings, labels, proxies, proxy_labels, ignore_index=ignore_index, backend=backend, validate=validate,
        process_group=process_group,
    )  # fmt: skip
    scale = inputs.per_sample("scale", scale)
    negative = inputs.statistics(*class_scores(inputs, scale))[:, 1]
    cosines = positive_cosines(inputs, scale)
    given = torch.stack((negative + inputs.poison, cosines, inputs.valid.to(negative.dtype)), dim=1)
    negative, cosines, valid = inputs.gathered(given).unbind(1)
    log_average = negative.where(valid == 1, -torch.inf).logsumexp(0) - valid.sum().log()
    # Of an even number torch takes the lower of the middle two angles, which has the higher cosine.
    median = -(-cosines.where(valid == 1, torch.nan)).nanmedian()
    return (log_average / median.clamp(math.sqrt(0.5), 1)).clamp_min(1)
