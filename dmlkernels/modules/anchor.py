"""Proxy-Anchor as a module."""

from __future__ import annotations

from dmlkernels.functional.anchor import proxy_anchor_loss
from dmlkernels.modules.proxy_loss import ProxyLoss


class ProxyAnchorLoss(ProxyLoss):
    """Proxy-Anchor with its own proxies.

    Args:
        num_classes, embedding_size: shape of the proxies; ``ProxyLoss`` says what else may be given of them.
        alpha, margin, ignore_index, backend: as in ``proxy_anchor_loss``.

    Example:
        >>> import torch
        >>> from dmlkernels import ProxyAnchorLoss
        >>> loss_fn = ProxyAnchorLoss(num_classes=3, embedding_size=8)
        >>> loss_fn(torch.randn(4, 8), torch.tensor([0, 1, 2, 0])).backward()
    """

    function = staticmethod(proxy_anchor_loss)
    foreign_names = ("proxies",)
