"""Circle loss as a module."""

from __future__ import annotations

from dmlkernels.functional.circle import circle_loss
from dmlkernels.modules.proxy_loss import ProxyLoss


class CircleLoss(ProxyLoss):
    """Circle loss with its own proxies.

    Args:
        num_classes, embedding_size: shape of the proxies; ``ProxyLoss`` says what else may be given of them.
        scale, margin, detach_weights, reduction, ignore_index, backend: as in ``circle_loss``.

    Example:
        >>> import torch
        >>> from dmlkernels import CircleLoss
        >>> loss_fn = CircleLoss(num_classes=3, embedding_size=8)
        >>> loss_fn(torch.randn(4, 8), torch.tensor([0, 1, 2, 0])).backward()
        >>> loss_fn.proxies.grad.shape
        torch.Size([3, 8])
    """

    function = staticmethod(circle_loss)
