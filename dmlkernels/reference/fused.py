"""The fused objective, as the sum it stands for: losses.md, section 6."""

from __future__ import annotations

import torch
from torch import Tensor

from .decidability import pd_loss
from .field import potential_field_loss
from .odba import odba_penalty


def fused_objective(
    embeddings: Tensor,  # (B, D)
    labels: Tensor,  # (B,)
    proxies: Tensor,  # (C, D)
    atoms: Tensor | None = None,  # (K, D)
    *,
    pd_weight: float = 1.0,
    field_weight: float = 0.0,
    odba_weight: float = 0.0,
    proxy_labels: Tensor | None = None,  # (C,)
    form: str = "neg_log",
    temperature: float = 1.0,
    correction: int = 0,
    min_gap: float = 0.01,
    eps: float = 1e-6,
    alpha: float = 3.0,
    delta_att: float = 0.2,
    delta_rep: float = 0.2,
    reduction: str = "mean",
    unit_depth: bool = True,
    d_min: float = 1e-2,
    prior: Tensor | None = None,  # (K,)
    active: Tensor | None = None,  # (K,) bool
    ignore_index: int = -100,
) -> tuple[Tensor, dict[str, Tensor]]:
    """pd_weight PD + field_weight Field + odba_weight ODBA, and the three detached; a part not asked for is 0."""
    zero = torch.zeros((), dtype=torch.promote_types(embeddings.dtype, proxies.dtype), device=embeddings.device)
    pd = field = odba = zero
    if pd_weight != 0:
        pd = pd_loss(
            embeddings, labels, proxies, proxy_labels=proxy_labels, form=form, temperature=temperature,
            correction=correction, min_gap=min_gap, eps=eps, ignore_index=ignore_index,
        )  # fmt: skip
    if field_weight != 0:
        field = potential_field_loss(
            embeddings, labels, proxies, proxy_labels=proxy_labels, alpha=alpha, delta_att=delta_att,
            delta_rep=delta_rep, reduction=reduction, unit_depth=unit_depth, d_min=d_min, ignore_index=ignore_index,
        )  # fmt: skip
    if odba_weight != 0:
        if atoms is None:
            raise ValueError(f"atoms: got None, expected (K, D) atoms for odba_weight={odba_weight}")
        odba = odba_penalty(embeddings[labels.long() != ignore_index], atoms, prior=prior, active=active)
    total = pd_weight * pd + field_weight * field + odba_weight * odba
    return total, {"pd": pd.detach(), "field": field.detach(), "odba": odba.detach()}
