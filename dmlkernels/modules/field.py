"""The potential-field loss as a module."""

from __future__ import annotations

from typing import Any

from dmlkernels.functional.field import potential_field_loss
from dmlkernels.modules.proxy_loss import ProxyLoss


class PotentialFieldLoss(ProxyLoss):
    """Potential-field loss with its own proxies, 15 per class as in the paper (2 for very many classes).

    Args:
        num_classes, embedding_size: shape of the proxies; ``ProxyLoss`` says what else may be given of them.
        proxies_per_class: proxies of each class, at least 1. For a field without proxies use the function.
        alpha, delta_att, delta_rep, reduction, unit_depth, d_min, ignore_index, backend: as in
            ``potential_field_loss``.

    Example:
        >>> import torch
        >>> from dmlkernels import PotentialFieldLoss
        >>> loss_fn = PotentialFieldLoss(num_classes=3, embedding_size=8, proxies_per_class=2)
        >>> loss_fn(torch.randn(4, 8), torch.tensor([0, 1, 2, 0])).backward()
        >>> loss_fn.proxies.grad.shape
        torch.Size([6, 8])
    """

    function = staticmethod(potential_field_loss)

    def __init__(self, num_classes: int, embedding_size: int, *, proxies_per_class: int = 15, **options: Any) -> None:
        super().__init__(num_classes, embedding_size, proxies_per_class=proxies_per_class, **options)
