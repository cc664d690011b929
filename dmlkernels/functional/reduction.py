"""Mean, sum or none over samples, with weights, without ignored rows."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.functional.checks import check_choice, check_per_row, check_tensor
from dmlkernels.functional.inputs import ProxyInputs

REDUCTIONS = ("mean", "sum", "none")


def check_reduction(reduction: str, sample_weight: Tensor | None, embeddings: Tensor) -> None:
    """The options of ``reduce_samples``."""
    check_choice("reduction", reduction, REDUCTIONS)
    if sample_weight is not None:
        check_tensor("embeddings", embeddings)
        check_per_row("sample_weight", sample_weight, embeddings, "embeddings")


def reduce_samples(losses: Tensor, inputs: ProxyInputs, sample_weight: Tensor | None, reduction: str) -> Tensor:
    """The loss of a batch from that of each sample."""
    valid = inputs.valid
    losses = torch.where(valid, losses, 0)
    weight = valid.to(losses.dtype)
    if sample_weight is not None:
        weight = torch.where(valid, sample_weight.to(losses.dtype), 0)
        losses = losses * weight
    if reduction == "none":
        return losses + inputs.poison
    loss, total = inputs.totals(losses.sum(), weight.sum())
    return (loss if reduction == "sum" else loss / total) + inputs.poison
