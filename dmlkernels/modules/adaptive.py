"""Losses that adapt margin or scale: MagFace, and AdaFace, CurricularFace and AdaCos with their running state."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from dmlkernels.functional.adacos import adacos_scale
from dmlkernels.functional.adaface import adaface_loss
from dmlkernels.functional.checks import check_integer, check_number
from dmlkernels.functional.curricular import curricularface_loss
from dmlkernels.functional.magface import magface_loss
from dmlkernels.functional.running import check_momentum, refuse_recomputation, update_running
from dmlkernels.functional.softmax import normalized_softmax_loss
from dmlkernels.modules.softmax import MarginLoss, NormalizedSoftmaxLoss


class MagFaceLoss(NormalizedSoftmaxLoss):
    """MagFace with its own proxies; margins are in radians.

    Args:
        num_classes, embedding_size: shape of the proxies; ``ProxyLoss`` says what else may be given of them.
        scale, learnable_scale, class_weights: as in ``NormalizedSoftmaxLoss``.
        lower_norm, upper_norm, lower_margin, upper_margin, regularizer_weight, reduction, ignore_index, backend: as in
            ``magface_loss``.

    Example:
        >>> import torch
        >>> from dmlkernels import MagFaceLoss
        >>> MagFaceLoss(num_classes=3, embedding_size=8)(20 * torch.randn(4, 8), torch.tensor([0, 1, 2, 0])).shape
        torch.Size([])
    """

    function = staticmethod(magface_loss)
    foreign_names = ()


class AdaFaceLoss(NormalizedSoftmaxLoss):
    """AdaFace with its own proxies and running statistics of the norms.

    In training mode a call first takes in the batch's mean and standard deviation, in the buffers ``norm_mean`` and
    ``norm_std``: ``momentum`` times the old plus the rest times the new. Statistics that are not finite are left out.
    With ``process_group`` or sharded proxies they are those of the whole batch; else every process has its own, unless
    something broadcasts buffers, as DistributedDataParallel does.

    Args:
        num_classes, embedding_size: shape of the proxies; ``ProxyLoss`` says what else may be given of them.
        momentum: 0 to 1.
        norm_mean, norm_std: what the running statistics start from.
        scale, learnable_scale, class_weights: as in ``NormalizedSoftmaxLoss``.
        margin, concentration, reduction, ignore_index, backend: as in ``adaface_loss``.

    Example:
        >>> import torch
        >>> from dmlkernels import AdaFaceLoss
        >>> loss_fn = AdaFaceLoss(num_classes=3, embedding_size=8)
        >>> loss_fn(torch.randn(4, 8), torch.tensor([0, 1, 2, 0])).shape
        torch.Size([])
        >>> loss_fn.norm_mean < 20
        tensor(True)
    """

    function = staticmethod(adaface_loss)
    foreign_names = ()
    norm_mean: Tensor
    norm_std: Tensor
    numbers: ClassVar[tuple[str, ...]] = ("scale", "norm_mean", "norm_std")

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        momentum: float = 0.99,
        norm_mean: float = 20.0,
        norm_std: float = 100.0,
        **options: Any,
    ) -> None:
        self._momentum = check_momentum(momentum)
        start: dict[str, Any] = {
            "norm_mean": torch.tensor(check_number("norm_mean", norm_mean, above=0)),
            "norm_std": torch.tensor(check_number("norm_std", norm_std, at_least=0)),
        }
        super().__init__(num_classes, embedding_size, **start, **options)

    def _call_options(self) -> dict[str, Any]:
        return {**super()._call_options(), "momentum": self._momentum if self.training else None}


class CurricularFaceLoss(MarginLoss):
    """CurricularFace with its own proxies; the margin is in radians.

    In training mode a call first takes the batch's mean positive cosine into the buffer ``hardness``: ``momentum``
    times the old plus the rest times the new. One that is not finite is left out. With ``process_group`` or sharded
    proxies it is that of the whole batch; else every process has its own, unless something broadcasts buffers, as
    DistributedDataParallel does.

    Args:
        num_classes, embedding_size: shape of the proxies; ``ProxyLoss`` says what else may be given of them.
        momentum: 0 to 1.
        hardness: what the running mean starts from.
        scale, learnable_scale, margin, learnable_margin, class_weights: as in ``ArcFaceLoss``.
        reduction, ignore_index, backend: as in ``curricularface_loss``.

    Example:
        >>> import torch
        >>> from dmlkernels import CurricularFaceLoss
        >>> loss_fn = CurricularFaceLoss(num_classes=3, embedding_size=8)
        >>> loss_fn(torch.randn(4, 8), torch.tensor([0, 1, 2, 0])).shape
        torch.Size([])
    """

    function = staticmethod(curricularface_loss)
    foreign_names = ()
    hardness: Tensor
    numbers = ("scale", "margin", "hardness")

    def __init__(
        self, num_classes: int, embedding_size: int, *, momentum: float = 0.99, hardness: float = 0.0, **options: Any
    ) -> None:
        self._momentum = check_momentum(momentum)
        start = torch.tensor(check_number("hardness", hardness))
        super().__init__(num_classes, embedding_size, hardness=start, **options)

    def _call_options(self) -> dict[str, Any]:
        return {**super()._call_options(), "momentum": self._momentum if self.training else None}


class AdaCosLoss(NormalizedSoftmaxLoss):
    """AdaCos, a normalised softmax without a hyper-parameter, with its own proxies.

    The buffer ``scale`` starts at ``sqrt(2) log(num_classes - 1)``. In training mode a call first replaces it by what
    the batch asks for, see ``adacos_scale``, which takes one more pass forward; one that is not finite is left out.
    With ``process_group`` or sharded proxies it is that of the whole batch; else every process has its own, unless
    something broadcasts buffers, as DistributedDataParallel does.

    Args:
        num_classes, embedding_size: shape of the proxies, of at least 3 classes; ``ProxyLoss`` says what else may be
            given of them.
        class_weights, label_smoothing, reduction, ignore_index, backend: as in ``NormalizedSoftmaxLoss``.

    Example:
        >>> import torch
        >>> from dmlkernels import AdaCosLoss
        >>> loss_fn = AdaCosLoss(num_classes=3, embedding_size=8)
        >>> loss_fn(torch.randn(4, 8), torch.tensor([0, 1, 2, 0])).shape
        torch.Size([])
    """

    function = staticmethod(normalized_softmax_loss)
    foreign_names = ()
    scale: Tensor

    def __init__(self, num_classes: int, embedding_size: int, **options: Any) -> None:
        for name in ("scale", "learnable_scale"):
            if name in options:
                raise TypeError(f"{name}: not an option of AdaCosLoss, which finds the scale itself")
        check_integer("num_classes", num_classes)
        if num_classes < 3:
            raise ValueError(f"num_classes: got {num_classes}, expected at least 3 for AdaCosLoss")
        start = torch.tensor(math.sqrt(2) * math.log(num_classes - 1))
        super().__init__(num_classes, embedding_size, scale=start, **options)

    def _evaluate(
        self, embeddings: Tensor, labels: Tensor, options: dict[str, Any]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if self.training:
            refuse_recomputation("scale")
            found = adacos_scale(
                embeddings, labels, self.proxies, self.scale,
                proxy_labels=self.proxy_labels, ignore_index=options["ignore_index"], backend=options["backend"],
                process_group=self.process_group,
            )  # fmt: skip
            update_running(self.scale, found, 0.0)
        # Backward may come after another call, which changes the buffer.
        return super()._evaluate(embeddings, labels, {**options, "scale": self.scale.clone()})
