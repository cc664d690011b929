"""The interface of every loss module: what training code may call without knowing which loss it has."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dmlkernels.distributed.checks import before_agreement
from dmlkernels.distributed.group import Ranks
from dmlkernels.modules.options import complete_options, show_options
from dmlkernels.modules.reference_samples import joined

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class LossModule(nn.Module):
    """A loss as a module: ``loss_fn(embeddings, labels)``, with the extra arguments of pytorch-metric-learning.

    A subclass names its ``function``, whose keyword arguments become the module's options. ``param_groups``,
    ``init_proxies_from`` and ``extend_classes`` do nothing in a loss without proxies, so that one training script
    serves all losses.

    Args:
        process_group: ranks that each have a part of one batch, or None for this rank's samples alone.
        options: keyword arguments of ``function``.
    """

    function: Callable[..., Any]
    options: dict[str, Any]
    parts: dict[str, Tensor]
    """Detached parts of the last call, for logging: ``{"loss": ...}``, or the terms of a joint objective."""

    def __init__(self, *, process_group: ProcessGroup | None = None, **options: Any) -> None:
        super().__init__()
        self.process_group = process_group
        self.options = complete_options(type(self).function, options)
        self.parts = {}
        self._warned_of_miner = False
        self.takes_weights = "sample_weight" in inspect.signature(type(self).function).parameters

    def forward(
        self,
        embeddings: Tensor,  # (B, D)
        labels: Tensor,  # (B,)
        indices_tuple: Sequence[Tensor] | Tensor | None = None,
        ref_emb: Tensor | None = None,  # (M, D)
        ref_labels: Tensor | None = None,  # (M,)
        *,
        sample_weight: Tensor | None = None,  # (B,)
        ref_weight: Tensor | None = None,  # (M,)
    ) -> Tensor:
        """Compute the loss of a batch.

        Args:
            embeddings, labels: the batch.
            indices_tuple: pairs or triplets from a miner of pytorch-metric-learning. Ignored, with a warning: these
                losses see every sample.
            ref_emb, ref_labels: further samples, (M, D) and (M,), such as a memory of earlier batches. The loss is that
                of both joined. Rows that are bit for bit rows of ``embeddings`` with the same label count once.
            sample_weight: (B,) weight of each sample, where the loss takes one; default 1.
            ref_weight: (M,) weight of each further sample; default 1.
        """
        if isinstance(indices_tuple, Tensor):
            warnings.warn(
                "sample_weight as the third positional argument is deprecated: pass sample_weight=",
                DeprecationWarning,
                stacklevel=2,
            )
            indices_tuple, sample_weight = None, indices_tuple
        if indices_tuple is not None and ref_emb is None and not self._warned_of_miner:
            self._warned_of_miner = True
            warnings.warn(
                f"indices_tuple: {type(self).__name__} sees every sample, so the choice of a miner has no effect",
                stacklevel=2,
            )
        further = ref_emb, ref_labels, sample_weight, ref_weight
        embeddings, labels, options = self._checked(embeddings, labels, *further)
        loss, self.parts = self._evaluate(embeddings, labels, options)
        return loss

    @before_agreement
    def _checked(
        self,
        embeddings: Tensor,
        labels: Tensor,
        ref_emb: Tensor | None,
        ref_labels: Tensor | None,
        sample_weight: Tensor | None,
        ref_weight: Tensor | None,
    ) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Return the samples joined with the further ones, and all that ``function`` gets beside them."""
        options = self._call_options()
        if self.process_group is not None:
            options = {**options, "process_group": self.process_group}
        for name, weight in (("sample_weight", sample_weight), ("ref_weight", ref_weight)):
            if weight is not None and not self.takes_weights:
                raise TypeError(f"{name}: {type(self).__name__} takes none")
        if sample_weight is not None:
            options = {**options, "sample_weight": sample_weight}
        if ref_emb is not None or ref_labels is not None or ref_weight is not None:
            embeddings, labels, sample_weight = joined(
                embeddings, labels, ref_emb, ref_labels, sample_weight, ref_weight, options["ignore_index"]
            )
            if sample_weight is not None:
                options = {**options, "sample_weight": sample_weight}
        return embeddings, labels, options

    def _ranks(self) -> Ranks | None:
        """The ranks of a call."""
        return None if self.process_group is None else Ranks(self.process_group)

    def _call_options(self) -> dict[str, Any]:
        """Return what ``function`` gets beside the samples."""
        return self.options

    def _evaluate(
        self, embeddings: Tensor, labels: Tensor, options: dict[str, Any]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss of a batch, and its detached parts."""
        loss: Tensor = type(self).function(embeddings, labels, **options)
        return loss, {"loss": loss.detach()}

    def param_groups(self, lr: float, proxy_lr_factor: float = 100.0) -> list[dict[str, Any]]:
        """Return optimiser groups for the parameters of the loss; none here."""
        return []

    def get_logits(self, embeddings: Tensor) -> Tensor:  # (B, num_classes)
        """Compute class scores of embeddings (B, D)."""
        raise RuntimeError(f"{type(self).__name__} has no proxies, so no class scores: compare embeddings instead")

    def init_proxies_from(
        self, embeddings: Tensor | Iterable[tuple[Tensor, Tensor]], labels: Tensor | None = None
    ) -> None:
        """Set the proxies to the mean direction of each class; nothing to do here."""

    def extend_classes(
        self,
        num_new: int,
        *,
        optimizer: Optimizer | Sequence[Optimizer] = (),
        generator: torch.Generator | None = None,
    ) -> None:
        """Add classes; nothing to do here, where any label is a class."""

    def extra_repr(self) -> str:
        """Show the options."""
        return show_options(self.options)
