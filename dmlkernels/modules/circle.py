"""Circle loss as a module."""

from __future__ import annotations

from typing import Any

from dmlkernels.functional.circle import circle_loss
from dmlkernels.modules.tensor_options import TensorOptions, learnable_names


class CircleLoss(TensorOptions):
    """Circle loss with its own proxies.

    Args:
        num_classes, embedding_size: shape of the proxies; ``ProxyLoss`` says what else may be given of them.
        scale: one number, or a () tensor, which becomes a buffer, or a parameter if it is one.
        margin: one number, or a () or (num_classes,) tensor, likewise.
        learnable_scale, learnable_margin: make it a parameter of that name, starting from the value given.
        detach_weights, reduction, ignore_index, backend: as in ``circle_loss``.

    Example:
        >>> import torch
        >>> from dmlkernels import CircleLoss
        >>> loss_fn = CircleLoss(num_classes=3, embedding_size=8)
        >>> loss_fn(torch.randn(4, 8), torch.tensor([0, 1, 2, 0])).backward()
        >>> loss_fn.proxies.grad.shape
        torch.Size([3, 8])
    """

    function = staticmethod(circle_loss)
    numbers = ("scale", "margin")
    of_classes = ("margin",)

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        learnable_scale: bool = False,
        learnable_margin: bool = False,
        **options: Any,
    ) -> None:
        learnable = learnable_names(scale=learnable_scale, margin=learnable_margin)
        super().__init__(num_classes, embedding_size, learnable=learnable, **options)
