"""A part of the classes for a step: those of the batch, and others drawn at random (partial FC)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from dmlkernels.functional.running import refuse_recomputation


def number_drawn(num_labels: int, total: int, fraction: float) -> int:
    """How many classes take part: more than there are labels, in any case."""
    return min(total, max(math.ceil(fraction * total), num_labels + 1))


def draw_classes(labels: Tensor, total: int, fraction: float, generator: torch.Generator | None) -> Tensor:  # (S,)
    """Classes 0 to total - 1, ascending: all that are in ``labels`` and random ones, a fraction of all together.

    How many depends on shapes alone, so that nothing waits for a GPU.
    """
    if generator is not None:  # torch's own is put back before anything is computed again
        refuse_recomputation("sample_generator")
    number = number_drawn(labels.shape[0], total, fraction)
    device = labels.device if generator is None else generator.device
    turn = torch.rand(total, generator=generator, device=device).to(labels.device)
    if total:
        present = (labels >= 0) & (labels < total)
        turn.scatter_reduce_(0, labels.clamp(0, total - 1), torch.where(present, 2.0, 0.0), "amax")
    return turn.topk(number).indices.sort().values


def chosen_rows(rows: Tensor, chosen: Tensor, sparse: bool) -> Tensor:
    """Some of the rows; the gradient of all has zeros in the others, or with ``sparse`` does not store them."""
    return F.embedding(chosen, rows, sparse=sparse)
