"""The invariance loss between two views of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dmlkernels.backends.autocast import cat
from dmlkernels.distributed.agreement import Step, across_ranks, step_of
from dmlkernels.distributed.parts import batch_parts
from dmlkernels.functional.checks import check_flag, check_number, check_per_row, check_same_space, check_vectors
from dmlkernels.functional.parts import local_proxies
from dmlkernels.functional.reduction import mean_of_rows
from dmlkernels.ops import Formula, pair_loss, pair_statistics
from dmlkernels.statistics import Divergence

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


@across_ranks
def symmetric_kl_loss(
    embeddings: Tensor,  # (B, D)
    intervened: Tensor,  # (B, D)
    proxies: Tensor,  # (C, D)
    *,
    temperature: float,
    detach_targets: bool = True,
    detach_proxies: bool = True,
    sample_weight: Tensor | None = None,  # (B,)
    backend: str = "auto",
    process_group: ProcessGroup | None = None,
) -> Tensor:
    """Symmetric KL divergence of the proxy distributions of two views (MSRCI).

    With p = softmax_j(s_ij / temperature) of a view and p' of the other, and sg the stop-gradient::

        1 / (2 B) sum_i [ KL(sg p_i || p'_i) + KL(sg p'_i || p_i) ]

    The normalisers cancel in the sum, so one pass over the scores gives it.

    CouCE-style, after Yuan et al., CouCE, arXiv 2606.30365: a reconstruction from the abstract and published building
    blocks. It reproduces no number of that paper.

    Args:
        embeddings: (B, D) first view, any scale; float16, bfloat16, float32 or float64.
        intervened: (B, D) second view of the same samples, row by row.
        proxies: (C, D) proxies of any scale.
        temperature: divides the scores, above 0.
        detach_targets: hold each divergence's target fixed in the gradient; False gives the gradient of the value.
        detach_proxies: no gradient to the proxies.
        sample_weight: (B,) weight of each sample, floats; the mean divides by the sum of all weights.
        backend: "auto", "torch", "triton" or "native".
        process_group: ranks that each have a part of one batch, or None for this rank's samples alone.

    Returns:
        Scalar, float32; float64 if an input is float64. Never negative but for rounding; 0 for equal views.

    Raises:
        ValueError: shapes, devices or options that do not fit; no samples.
        TypeError: a wrong dtype.
        RuntimeError: the backend asked for cannot run here.

    Gradients: with ``detach_targets``, (p - p') / (2 B temperature) on the scores of the first view and minus that on
    the second's; the true derivative of the weights of samples. First order.

    Memory and determinism: O((B + C) D), no B x C matrix. Repeatable bit for bit on one device.

    Example:
        >>> import torch
        >>> from dmlkernels import symmetric_kl_loss
        >>> x, proxies = torch.eye(2, 3), torch.eye(3)
        >>> symmetric_kl_loss(x, x, proxies, temperature=0.1)
        tensor(0.)
    """
    step = step_of(process_group)
    check_vectors("embeddings", embeddings, allow_empty=step is not None)
    check_same_space("intervened", intervened, embeddings, allow_empty=step is not None)
    if intervened.shape != embeddings.shape:
        raise ValueError(
            f"intervened: got shape {tuple(intervened.shape)}, expected {tuple(embeddings.shape)} as embeddings"
        )
    check_per_row("sample_weight", sample_weight, embeddings, "embeddings")
    temperature = check_number("temperature", temperature, above=0)
    check_flag("detach_targets", detach_targets)
    check_flag("detach_proxies", detach_proxies)
    dtype = torch.promote_types(embeddings.dtype, intervened.dtype)
    views = cat((embeddings.to(dtype)[None], intervened.to(dtype)[None]))
    statistic = Divergence(1 / temperature, detach_targets)
    if step is not None:
        return _across_ranks(step, statistic, views, proxies, detach_proxies, sample_weight, backend)
    check_same_space("proxies", proxies, embeddings)
    proxies = proxies.detach() if detach_proxies else proxies
    loss = pair_loss(Formula("last", (0.5,)), statistic, views, proxies, backend=backend, weight=sample_weight)
    if loss is not None:
        return loss
    statistics = pair_statistics(statistic, views, proxies, backend=backend)
    return mean_of_rows(statistics[:, 5], sample_weight, None) / 2


def _across_ranks(
    step: Step,
    statistic: Divergence,
    views: Tensor,
    proxies: Tensor,
    detach_proxies: bool,
    sample_weight: Tensor | None,
    backend: str,
) -> Tensor:
    proxies, number = local_proxies("proxies", proxies, views[0], step)
    proxies = proxies.detach() if detach_proxies else proxies
    parts = batch_parts(step, views[0], proxies, number, backend=backend)
    if parts.shard is None:
        statistics = pair_statistics(statistic, views, proxies, backend=backend)
    else:
        rows = parts.shard.gather(views.transpose(0, 1)).transpose(0, 1)
        statistics = parts.shard.statistics(statistic, rows, proxies, backend=backend)
    return mean_of_rows(statistics[:, 5], sample_weight, parts) / 2
