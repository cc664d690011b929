"""PD-Loss and D-Loss as modules."""

from __future__ import annotations

from typing import Any

import torch

from dmlkernels.functional.decidability import decidability_loss, pd_loss
from dmlkernels.modules.loss_module import LossModule
from dmlkernels.modules.proxy_loss import ProxyLoss


class PDLoss(ProxyLoss):
    """PD-Loss with its own proxies.

    Args:
        num_classes, embedding_size: shape of the proxies; ``ProxyLoss`` says what else may be given of them.
        form, temperature, correction, min_gap, eps, ignore_index, backend: as in ``pd_loss``.

    Example:
        >>> import torch
        >>> from dmlkernels import PDLoss
        >>> loss_fn = PDLoss(num_classes=3, embedding_size=8)
        >>> loss_fn(torch.randn(4, 8), torch.tensor([0, 1, 2, 0])).backward()
        >>> loss_fn.proxies.grad.shape
        torch.Size([3, 8])
    """

    function = staticmethod(pd_loss)


class DecidabilityLoss(LossModule):
    """D-Loss, which has no proxies.

    Args:
        form, correction, min_gap, eps, ignore_index, backend: as in ``decidability_loss``.

    Example:
        >>> import torch
        >>> from dmlkernels import DecidabilityLoss
        >>> DecidabilityLoss()(torch.randn(4, 8), torch.tensor([0, 1, 1, 0])).shape
        torch.Size([])
    """

    function = staticmethod(decidability_loss)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # Two genuine pairs and four impostor ones: enough for either correction.
        labels = torch.tensor([0, 0, 1, 1])
        decidability_loss(torch.eye(4), labels, **{**self.options, "backend": "torch"})  # checks options
