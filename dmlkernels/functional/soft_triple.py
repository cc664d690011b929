"""SoftTriple: several centres per class, softly assigned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dmlkernels import backends
from dmlkernels.distributed.agreement import across_ranks
from dmlkernels.functional.checks import check_integer, check_number
from dmlkernels.functional.cross_entropy import Scores, cross_entropy_loss
from dmlkernels.functional.inputs import proxy_inputs
from dmlkernels.functional.reduction import check_reduction
from dmlkernels.ops import Formula, center_spread
from dmlkernels.statistics import LogSumExp, SoftTriple

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


@across_ranks
def soft_triple_loss(
    embeddings: Tensor,  # (B, D)
    labels: Tensor,  # (B,)
    centers: Tensor,  # (C * K, D)
    *,
    centers_per_class: int = 10,
    scale: float = 20.0,
    gamma: float = 0.1,
    tau: float = 0.2,
    margin: float = 0.01,
    sample_weight: Tensor | None = None,  # (B,)
    reduction: str = "mean",
    ignore_index: int = -100,
    backend: str = "auto",
    validate: bool = False,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    """SoftTriple loss.

    With class similarity ``S_c = sum_k softmax_k(s_ck / gamma) s_ck`` over the K centres w_c1 .. w_cK of class c::

        -log softmax_y(scale (S_c - margin [c = y]))
          + tau sum_c sum_{s < t} sqrt(2 + 1e-5 - 2 <w^_cs, w^_ct>) / (C K (K - 1))

    Qian et al., SoftTriple Loss: Deep Metric Learning Without Triplet Sampling, ICCV 2019, arXiv 1909.05235.

    Args:
        embeddings: (B, D) samples of any scale; float16, bfloat16, float32 or float64.
        labels: (B,) class of each sample, integers; rows with ``ignore_index`` take no part.
        centers: (C * K, D) centres of any scale; centre k of class c is row ``c * K + k``.
        centers_per_class: K, at least 1.
        scale: multiplies class similarities (lambda in the paper), above 0.
        gamma: temperature of the soft assignment, above 0.
        tau: weight of the regulariser that draws a class's centres together, at least 0.
        margin: taken off the similarity with the sample's class (delta in the paper).
        sample_weight: (B,) weight of each sample, floats; the mean divides by their sum.
        reduction: "mean", "sum", or "none" for (B,) losses, which leave the regulariser out: it is no sample's.
        ignore_index: label of rows to leave out.
        backend: "auto", "torch", "triton" or "native"; on a GPU classes of more than 32 centres (64 with "native",
            unless in float64) are left to torch, whichever is named.
        validate: check the labels on a GPU too, which synchronises; see ``validation``.
        process_group: ranks that each have a part of one batch, or None for this rank's samples alone.

    Returns:
        Scalar, or (B,) for "none"; float32, or float64 if an input is float64.

    Raises:
        ValueError: shapes, devices or options that do not fit; a label that is no class (on a GPU: NaN); all rows
            ignored.
        TypeError: a wrong dtype.
        RuntimeError: the backend asked for cannot run here.

    Gradients: of embeddings and centres, first order; each is computed only if needed.

    Memory and determinism: O((B + C K) D), no B x C matrix. Repeatable bit for bit on one device.

    Example:
        >>> import torch
        >>> from dmlkernels import soft_triple_loss
        >>> centers = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> soft_triple_loss(torch.eye(2), torch.tensor([0, 1]), centers, centers_per_class=2, scale=1.0, margin=0.0)
        tensor(0.3135)
    """
    scale = check_number("scale", scale, above=0)
    gamma = check_number("gamma", gamma, above=0)
    tau = check_number("tau", tau, at_least=0)
    margin = check_number("margin", margin)
    check_centers_per_class(centers_per_class)
    check_centers(centers, centers_per_class)
    check_reduction(reduction, sample_weight, embeddings)
    inputs = proxy_inputs(
        embeddings, labels, centers, None, ignore_index=ignore_index, backend=backend, validate=validate,
        proxies_name="centers", proxies_per_label=centers_per_class, process_group=process_group,
    )  # fmt: skip
    # One centre is its class's similarity, whatever gamma.
    grouped = centers_per_class > 1
    statistic = SoftTriple(scale, gamma, centers_per_class) if grouped else LogSumExp(scale, scale)
    regularizer = None
    if reduction != "none" and tau > 0 and grouped:
        weight = tau / (inputs.num_proxies * (centers_per_class - 1))
        wide = inputs.proxies.to(torch.promote_types(centers.dtype, embeddings.dtype))
        chosen = backends.resolve(backend, wide.device.type)
        regularizer = inputs.whole(center_spread(wide, centers_per_class, weight, chosen))
    return cross_entropy_loss(
        inputs, Scores(statistic), lambda positive: positive - scale * margin,
        formula=Formula("cross_entropy", (scale * margin,)), sample_weight=sample_weight, reduction=reduction,
        added=regularizer,
    )  # fmt: skip


def check_centers_per_class(centers_per_class: int) -> None:
    """A whole number of at least 1."""
    check_integer("centers_per_class", centers_per_class, at_least=1)


def check_centers(centers: Any, centers_per_class: int) -> None:
    """As many for every class."""
    if isinstance(centers, Tensor) and centers.dim() == 2 and centers.shape[0] % centers_per_class:
        raise ValueError(
            f"centers: got {centers.shape[0]} rows, expected a multiple of centers_per_class={centers_per_class}"
        )
