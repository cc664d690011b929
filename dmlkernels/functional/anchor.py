"""Proxy-Anchor: each proxy is an anchor for the samples of the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from dmlkernels.distributed.agreement import across_ranks
from dmlkernels.functional.checks import check_number
from dmlkernels.functional.inputs import proxy_inputs
from dmlkernels.ops import APART, Formula
from dmlkernels.statistics import LogSumExp

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


@across_ranks
def proxy_anchor_loss(
    embeddings: Tensor,  # (B, D)
    labels: Tensor,  # (B,)
    proxies: Tensor,  # (C, D)
    *,
    alpha: float = 32.0,
    margin: float = 0.1,
    proxy_labels: Tensor | None = None,  # (C,)
    ignore_index: int = -100,
    backend: str = "auto",
    validate: bool = False,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    """Proxy-Anchor loss.

    Over the proxies P+ with a sample of their class in the batch, and over all C::

        1/|P+| sum_{p in P+} log(1 + sum_positives exp(-alpha (s - margin)))
          + 1/C sum_p log(1 + sum_negatives exp(alpha (s + margin)))

    Kim et al., Proxy Anchor Loss for Deep Metric Learning, CVPR 2020, arXiv 2003.13911.

    Args:
        embeddings: (B, D) samples of any scale; float16, bfloat16, float32 or float64.
        labels: (B,) class of each sample, integers; rows with ``ignore_index`` take no part.
        proxies: (C, D) proxies of any scale; any floating type, usually float32.
        alpha: multiplies the scores, above 0.
        margin: of both terms.
        proxy_labels: (C,) class of each proxy, several may share one; default 0 to C - 1.
        ignore_index: label of rows to leave out.
        backend: "auto", "torch", "triton" or "native".
        validate: check the labels on a GPU too, which synchronises; see ``validation``.
        process_group: ranks that each have a part of one batch, or None for this rank's samples alone.

    Returns:
        Scalar, float32; float64 if an input is float64.

    Raises:
        ValueError: shapes, devices or options that do not fit; a label that is no proxy's class (on a GPU: NaN);
            all rows ignored.
        TypeError: a wrong dtype.
        RuntimeError: the backend asked for cannot run here.

    Gradients: of embeddings and proxies, first order; each is computed only if needed.

    Memory and determinism: O((B + C) D), no B x C matrix. Repeatable bit for bit on one device.

    Example:
        >>> import torch
        >>> from dmlkernels import proxy_anchor_loss
        >>> proxy_anchor_loss(torch.eye(2), torch.tensor([0, 1]), torch.eye(2), alpha=1.0)
        tensor(1.0856)
    """
    alpha = check_number("alpha", alpha, above=0)
    margin = check_number("margin", margin)
    inputs = proxy_inputs(
        embeddings, labels, proxies, proxy_labels,
        ignore_index=ignore_index, backend=backend, validate=validate, process_group=process_group,
        labels_proxies=APART,
    )  # fmt: skip
    statistic = LogSumExp(-alpha, alpha)
    loss = inputs.loss_of_proxies(Formula("anchor", (alpha * margin,)), statistic)
    if loss is not None:
        return loss
    positive, negative = inputs.statistics_of_proxies(statistic).unbind(1)  # -inf without such a sample
    present = positive != -torch.inf  # NaN is present
    pull = F.softplus(torch.where(present, positive, 0) + alpha * margin, threshold=50)
    push = F.softplus(negative + alpha * margin, threshold=50)
    if not inputs.is_spread:
        return torch.where(present, pull, 0).sum() / present.sum() + push.mean() + inputs.poison
    pull, number, push = inputs.totals(torch.where(present, pull, 0).sum(), present.sum(), push.sum())
    return pull / number + push / inputs.num_proxies
