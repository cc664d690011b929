"""What the losses share: normalised rows, cosines, who has whose class, and the mean over samples."""

from __future__ import annotations

import torch
from torch import Tensor

NORM_FLOOR = 1e-12


def normalize(x: Tensor) -> Tensor:  # (N, D)
    """Rows over max(norm, 1e-12); a row at the floor is a constant, without gradient."""
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    unit = x / norm.clamp_min(NORM_FLOOR)
    return torch.where(norm > NORM_FLOOR, unit, unit.detach())


def cosines(x: Tensor, w: Tensor) -> Tensor:  # (N, M)
    """Cosine of every row of x with every row of w."""
    dtype = torch.promote_types(x.dtype, w.dtype)
    return normalize(x.to(dtype)) @ normalize(w.to(dtype)).T


def classes_of(proxies: Tensor, proxy_labels: Tensor | None) -> Tensor:  # (C,)
    """Class of each proxy, int64."""
    return torch.arange(len(proxies), device=proxies.device) if proxy_labels is None else proxy_labels.long()


def kept_rows(labels: Tensor, ignore_index: int) -> Tensor:  # (B,) bool
    """Which samples take part."""
    keep = labels.long() != ignore_index
    if not keep.any():
        raise ValueError(f"labels: no samples, or every label is ignore_index={ignore_index}; the genuine set is empty")
    return keep


def same_class(labels: Tensor, classes: Tensor) -> Tensor:  # (B, C) bool
    """Whether sample and proxy share a class. A sample without any proxy is an error."""
    same = labels[:, None] == classes[None, :]
    orphans = ~same.any(dim=1)
    if orphans.any():
        raise ValueError(f"labels: {int(labels[orphans][0])} is the class of no proxy")
    return same


def per_sample(value: float | Tensor, labels: Tensor, keep: Tensor) -> float | Tensor:
    """A number for all, or (kept samples,) numbers from (B, 1) for samples or (1, C) for classes."""
    if not isinstance(value, Tensor) or value.dim() == 0:
        return value
    return value[keep, 0] if value.shape == (len(keep), 1) else value[0, labels[keep].long()]


def reduce_rows(
    rows: Tensor,  # (number of kept samples,)
    keep: Tensor,  # (B,) bool
    sample_weight: Tensor | None,  # (B,)
    reduction: str,
    in_rows: Tensor | None = None,  # (number of kept samples,), weights that the rows have already
) -> Tensor:
    """Weighted mean or sum of the samples' losses, or each sample's own, 0 where ignored."""
    weight = torch.ones_like(rows) if sample_weight is None else sample_weight[keep].to(rows.dtype)
    if reduction == "mean":
        return (weight * rows).sum() / (weight if in_rows is None else weight * in_rows).sum()
    if reduction == "sum":
        return (weight * rows).sum()
    if reduction == "none":
        return rows.new_zeros(len(keep)).masked_scatter(keep, weight * rows)
    raise ValueError(f"reduction: got {reduction!r}, expected 'mean', 'sum' or 'none'")
