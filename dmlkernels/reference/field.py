"""Potential field: losses.md, section 2."""

from __future__ import annotations

import torch
from torch import Tensor

from ._common import classes_of, normalize


def potential_field_loss(
    embeddings: Tensor,  # (B, D)
    labels: Tensor,  # (B,)
    proxies: Tensor | None = None,  # (C, D)
    *,
    proxy_labels: Tensor | None = None,  # (C,)
    alpha: float = 3.0,
    delta_att: float = 0.2,
    delta_rep: float = 0.2,
    reduction: str = "mean",
    unit_depth: bool = True,
    d_min: float = 1e-2,
    ignore_index: int = -100,
) -> Tensor:
    """Energy of all ordered pairs of distinct points: samples joined with all proxies."""
    keep = labels.long() != ignore_index
    points, point_labels = embeddings[keep], labels[keep].long()
    if proxies is not None:
        classes = classes_of(proxies, proxy_labels)
        orphans = ~torch.isin(point_labels, classes)
        if orphans.any():
            raise ValueError(f"labels: {int(point_labels[orphans][0])} is the class of no proxy")
        dtype = torch.promote_types(points.dtype, proxies.dtype)
        points = torch.cat((points.to(dtype), proxies.to(dtype)))
        point_labels = torch.cat((point_labels, classes))
    if len(points) == 0:
        raise ValueError("labels: no points; every row is ignored and there are no proxies")

    unit = normalize(points)
    distance = (2 - 2 * unit @ unit.T).clamp_min(d_min**2).sqrt()
    same = point_labels[:, None] == point_labels[None, :]
    distinct = ~torch.eye(len(points), dtype=torch.bool, device=points.device)
    energy = (
        attraction(distance[distinct & same], alpha, delta_att, unit_depth).sum()
        + repulsion(distance[distinct & ~same], alpha, delta_rep, unit_depth).sum()
    )
    if reduction == "mean":
        return energy / len(points)
    if reduction == "sum":
        return energy
    raise ValueError(f"reduction: got {reduction!r}, expected 'mean' or 'sum'")


def potential_field(
    points: Tensor,  # (N, D)
    labels: Tensor,  # (N,)
    sources: Tensor,  # (M, D)
    source_labels: Tensor,  # (M,)
    *,
    alpha: float = 3.0,
    delta_att: float = 0.2,
    delta_rep: float = 0.2,
    d_min: float = 1e-2,
    unit_depth: bool = True,
    normalize: bool = True,
) -> tuple[Tensor, Tensor]:
    """Potential (N,) at each point and force (N, D), minus its gradient in the point taken as free in R^D."""
    at, of = (_normalized(points), _normalized(sources)) if normalize else (points, sources)
    at = at.detach().requires_grad_()
    same = labels[:, None] == source_labels[None, :]
    with torch.enable_grad():
        distance = torch.linalg.vector_norm(at[:, None, :] - of[None, :, :].detach(), dim=2).clamp_min(d_min)
        # Both branches are finite, value and slope: the distance is clamped first.
        psi = torch.where(
            same, attraction(distance, alpha, delta_att, unit_depth), repulsion(distance, alpha, delta_rep, unit_depth)
        )
        potential = psi.sum(dim=1)
        (gradient,) = torch.autograd.grad(potential.sum(), at)
    return potential.detach(), -gradient


def attraction(distance: Tensor, alpha: float, delta_att: float, unit_depth: bool) -> Tensor:
    """psi_att: a well, flat inside delta_att."""
    unit = delta_att if unit_depth else 1.0
    return -((distance.clamp_min(delta_att) / unit) ** -alpha)


def repulsion(distance: Tensor, alpha: float, delta_rep: float, unit_depth: bool) -> Tensor:
    """psi_rep: a hill, flat outside delta_rep."""
    unit = delta_rep if unit_depth else 1.0
    return (distance.clamp_max(delta_rep) / unit) ** -alpha


_normalized = normalize  # potential_field has an argument of that name
