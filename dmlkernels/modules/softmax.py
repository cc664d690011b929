"""The softmax family as modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from dmlkernels.functional.softmax import arcface_loss, cosface_loss, normalized_softmax_loss, proxy_nca_loss
from dmlkernels.modules.tensor_options import TensorOptions, learnable_names


class NormalizedSoftmaxLoss(TensorOptions):
    """Normalised softmax with its own proxies.

    Args:
        num_classes, embedding_size: shape of the proxies; ``ProxyLoss`` says what else may be given of them.
        scale: one number, or a () tensor, which becomes a buffer, or a parameter if it is one.
        learnable_scale: make it a parameter, ``.scale``, starting from the scale given.
        class_weights: None, or a (num_classes,) tensor, which becomes a buffer.
        label_smoothing, reduction, ignore_index, backend: as in ``normalized_softmax_loss``.

    Example:
        >>> import torch
        >>> from dmlkernels import NormalizedSoftmaxLoss
        >>> loss_fn = NormalizedSoftmaxLoss(num_classes=3, embedding_size=8)
        >>> loss_fn(torch.randn(4, 8), torch.tensor([0, 1, 2, 0])).backward()
        >>> loss_fn.get_logits(torch.randn(4, 8)).shape
        torch.Size([4, 3])
    """

    function: Callable[..., Any] = staticmethod(normalized_softmax_loss)
    foreign_names: ClassVar[tuple[str, ...]] = ("W", "proxies")
    numbers: ClassVar[tuple[str, ...]] = ("scale",)
    of_classes: ClassVar[tuple[str, ...]] = ("class_weights",)

    def __init__(self, num_classes: int, embedding_size: int, *, learnable_scale: bool = False, **options: Any) -> None:
        learnable = (*options.pop("learnable", ()), *learnable_names(scale=learnable_scale))
        super().__init__(num_classes, embedding_size, learnable=learnable, **options)

    def get_logits(self, embeddings: Tensor) -> Tensor:  # (B, num_classes)
        """Compute scaled cosines of embeddings (B, D) with the classes, without margin, for inference and metrics.

        Float32 or wider, also under autocast. If a class has several proxies, the log-sum-exp over them. This makes a
        B x C matrix: it is what was asked for. With sharded proxies it is a DTensor, as ``ProxyLoss.get_logits`` says.
        """
        return super().get_logits(embeddings)

    def _class_scores(self, cosines: Tensor) -> Tensor:
        return torch.logsumexp(self._call_options()["scale"] * cosines, dim=2)


class ProxyNCALoss(NormalizedSoftmaxLoss):
    """Proxy-NCA++, or with ``include_positive=False`` the original Proxy-NCA, with its own proxies.

    Args:
        num_classes, embedding_size: shape of the proxies; ``ProxyLoss`` says what else may be given of them.
        scale, learnable_scale: as in ``NormalizedSoftmaxLoss``.
        include_positive, class_weights, reduction, ignore_index, backend: as in ``proxy_nca_loss``.

    Example:
        >>> import torch
        >>> from dmlkernels import ProxyNCALoss
        >>> ProxyNCALoss(num_classes=3, embedding_size=8)(torch.randn(4, 8), torch.tensor([0, 1, 2, 0])) > 0
        tensor(True)
    """

    function = staticmethod(proxy_nca_loss)
    foreign_names = ("proxies",)


class MarginLoss(NormalizedSoftmaxLoss):
    """What softmax losses with a margin share: it may be learnt."""

    numbers: ClassVar[tuple[str, ...]] = ("scale", "margin")
    of_classes = ("margin", "class_weights")

    def __init__(
        self, num_classes: int, embedding_size: int, *, learnable_margin: bool = False, **options: Any
    ) -> None:
        super().__init__(num_classes, embedding_size, learnable=learnable_names(margin=learnable_margin), **options)


class CosFaceLoss(MarginLoss):
    """CosFace with its own proxies.

    Args:
        num_classes, embedding_size: shape of the proxies; ``ProxyLoss`` says what else may be given of them.
        scale, learnable_scale: as in ``NormalizedSoftmaxLoss``.
        class_weights, label_smoothing, reduction, ignore_index, backend: as in ``NormalizedSoftmaxLoss``.
        margin: one number, or a () or (num_classes,) tensor, which becomes a buffer, or a parameter if it is one.
        learnable_margin: make it a parameter, ``.margin``, starting from the margin given.

    Example:
        >>> import torch
        >>> from dmlkernels import CosFaceLoss
        >>> CosFaceLoss(num_classes=3, embedding_size=8)(torch.randn(4, 8), torch.tensor([0, 1, 2, 0])).shape
        torch.Size([])
    """

    function = staticmethod(cosface_loss)
    foreign_names = ("W",)


class ArcFaceLoss(MarginLoss):
    """ArcFace with its own proxies; the margin is in radians.

    Args:
        num_classes, embedding_size: shape of the proxies; ``ProxyLoss`` says what else may be given of them.
        scale, learnable_scale: as in ``NormalizedSoftmaxLoss``.
        margin, learnable_margin: as in ``CosFaceLoss``.
        class_weights, label_smoothing, reduction, ignore_index, backend: as in ``NormalizedSoftmaxLoss``.

    Example:
        >>> import torch
        >>> from dmlkernels import ArcFaceLoss
        >>> ArcFaceLoss(num_classes=3, embedding_size=8)(torch.randn(4, 8), torch.tensor([0, 1, 2, 0])).shape
        torch.Size([])
    """

    function = staticmethod(arcface_loss)
    foreign_names = ("W",)
