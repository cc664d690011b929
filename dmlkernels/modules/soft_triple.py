"""SoftTriple as a module."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dmlkernels.functional.soft_triple import check_centers_per_class, soft_triple_loss
from dmlkernels.modules.proxy_loss import ProxyLoss


class SoftTripleLoss(ProxyLoss):
    """SoftTriple with its own centres, which are its ``proxies``.

    Args:
        num_classes, embedding_size: shape of the centres; ``ProxyLoss`` says what else may be given of them.
        centers_per_class, scale, gamma, tau, margin, reduction, ignore_index, backend: as in ``soft_triple_loss``.

    Example:
        >>> import torch
        >>> from dmlkernels import SoftTripleLoss
        >>> loss_fn = SoftTripleLoss(num_classes=3, embedding_size=8, centers_per_class=4)
        >>> loss_fn(torch.randn(4, 8), torch.tensor([0, 1, 2, 0])).backward()
        >>> loss_fn.proxies.grad.shape
        torch.Size([12, 8])
    """

    function = staticmethod(soft_triple_loss)
    foreign_names = ("fc",)

    def __init__(self, num_classes: int, embedding_size: int, *, centers_per_class: int = 10, **options: Any) -> None:
        check_centers_per_class(centers_per_class)
        super().__init__(num_classes, embedding_size, proxies_per_class=centers_per_class, **options)

    def get_logits(self, embeddings: Tensor) -> Tensor:  # (B, num_classes)
        """Compute scaled class similarities of embeddings (B, D), without margin, for inference and metrics."""
        return super().get_logits(embeddings)

    def _class_scores(self, cosines: Tensor) -> Tensor:
        similarity = ((cosines / self.options["gamma"]).softmax(2) * cosines).sum(2)
        return similarity * self.options["scale"]

    def _call(
        self, embeddings: Tensor, labels: Tensor, proxies: Tensor, proxy_labels: Tensor | None, options: dict[str, Any]
    ) -> Tensor:
        return soft_triple_loss(embeddings, labels, proxies, centers_per_class=self.proxies_per_class, **options)
