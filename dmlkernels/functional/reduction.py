"""Reductions over samples, with optional weights; ignored rows are left out."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.distributed.parts import Parts
from dmlkernels.functional.checks import check_choice, check_per_row, check_tensor
from dmlkernels.functional.inputs import ProxyInputs

REDUCTIONS = ("mean", "sum", "none")


def check_reduction(reduction: str, sample_weight: Tensor | None, embeddings: Tensor) -> None:
    """Check the options of ``reduce_samples``."""
    check_choice("reduction", reduction, REDUCTIONS)
    if sample_weight is not None:
        check_tensor("embeddings", embeddings)
        check_per_row("sample_weight", sample_weight, embeddings, "embeddings")


def reduce_samples(
    losses: Tensor,  # (B,)
    inputs: ProxyInputs,
    sample_weight: Tensor | None,  # (B,)
    reduction: str,
    in_losses: Tensor | None = None,  # (B,), weights that the losses have already
) -> Tensor:
    """Reduce the losses of samples to that of the batch; the mean divides by the sum of all weights."""
    valid = inputs.valid
    losses = torch.where(valid, losses, 0)
    weight = valid.to(losses.dtype)
    if sample_weight is not None:
        weight = torch.where(valid, sample_weight.to(losses.dtype), 0)
        losses = losses * weight
    if reduction == "none":
        return losses + inputs.poison
    if in_losses is not None:
        weight = weight * torch.where(valid, in_losses, 0)
    loss, total = inputs.totals(losses.sum(), weight.sum())
    return (loss if reduction == "sum" else loss / total) + inputs.poison


def mean_of_rows(values: Tensor, sample_weight: Tensor | None, parts: Parts | None) -> Tensor:  # (B,), (B,) -> ()
    """The weighted mean over the samples of the whole batch, all of which take part."""
    if sample_weight is None:
        return values.mean() if parts is None else parts.total(values.sum()) / parts.num_rows
    weight = sample_weight.to(values.dtype)
    sums = torch.stack(((values * weight).sum(), weight.sum()))
    total, number = (sums if parts is None else parts.total(sums)).unbind()
    return total / number
