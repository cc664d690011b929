"""SubCenter-ArcFace as a module."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dmlkernels.functional.soft_triple import check_centers_per_class
from dmlkernels.functional.sub_center import sub_center_arcface_loss
from dmlkernels.modules.tensor_options import TensorOptions, learnable_names


class SubCenterArcFaceLoss(TensorOptions):
    """SubCenter-ArcFace with its own centres, which are its ``proxies``; the margin is in radians.

    Args:
        num_classes, embedding_size: shape of the centres; ``ProxyLoss`` says what else may be given of them.
        centers_per_class: as in ``sub_center_arcface_loss``.
        scale, learnable_scale, margin, learnable_margin, class_weights: as in ``ArcFaceLoss``.
        reduction, ignore_index, backend: as in ``sub_center_arcface_loss``.

    Example:
        >>> import torch
        >>> from dmlkernels import SubCenterArcFaceLoss
        >>> loss_fn = SubCenterArcFaceLoss(num_classes=3, embedding_size=8, centers_per_class=4)
        >>> loss_fn(torch.randn(4, 8), torch.tensor([0, 1, 2, 0])).backward()
        >>> loss_fn.proxies.grad.shape
        torch.Size([12, 8])
    """

    function = staticmethod(sub_center_arcface_loss)
    foreign_names = ("W",)
    numbers = ("scale", "margin")
    of_classes = ("margin", "class_weights")

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        centers_per_class: int = 3,
        learnable_scale: bool = False,
        learnable_margin: bool = False,
        **options: Any,
    ) -> None:
        check_centers_per_class(centers_per_class)
        super().__init__(
            num_classes,
            embedding_size,
            proxies_per_class=centers_per_class,
            learnable=learnable_names(scale=learnable_scale, margin=learnable_margin),
            **options,
        )

    def get_logits(self, embeddings: Tensor) -> Tensor:  # (B, num_classes)
        """Scaled cosine of embeddings (B, D) with the nearest centre of each class, without margin; for metrics."""
        scale: float | Tensor = self._call_options()["scale"]
        return scale * super().get_logits(embeddings)

    def _call(
        self, embeddings: Tensor, labels: Tensor, proxies: Tensor, proxy_labels: Tensor | None, options: dict[str, Any]
    ) -> Tensor:
        return sub_center_arcface_loss(embeddings, labels, proxies, centers_per_class=self.proxies_per_class, **options)
