"""PD-Loss, potential field and ODBA penalty on the same proxies, as one module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dmlkernels.couce.dictionary import BackgroundDictionary
from dmlkernels.functional.fused import fused_objective
from dmlkernels.modules.proxy_loss import ProxyLoss


class FusedObjective(ProxyLoss):
    """Weighted sum of PD-Loss, potential-field loss and ODBA penalty with its own proxies.

    Args:
        num_classes, embedding_size: shape of the proxies; ``ProxyLoss`` says what else may be given of them.
        dictionary: the atoms of the ODBA penalty and, if it uses one, their prior; needed for a non-zero
            ``odba_weight``. Updating it is up to the caller.
        pd_weight, field_weight, odba_weight and the options of the three losses: as in ``fused_objective``.

    After a forward pass ``parts`` holds the detached parts ``{"pd", "field", "odba"}``.

    Example:
        >>> import torch
        >>> from dmlkernels import FusedObjective
        >>> loss_fn = FusedObjective(num_classes=3, embedding_size=8, field_weight=0.5)
        >>> loss_fn(torch.randn(4, 8), torch.tensor([0, 1, 2, 0])).backward()
        >>> sorted(loss_fn.parts)
        ['field', 'odba', 'pd']
    """

    function = staticmethod(fused_objective)

    def __init__(
        self, num_classes: int, embedding_size: int, *, dictionary: BackgroundDictionary | None = None, **options: Any
    ) -> None:
        super().__init__(num_classes, embedding_size, **options)
        if self.options["odba_weight"] and dictionary is None:
            raise ValueError(f"dictionary: got None, expected one for odba_weight={self.options['odba_weight']}")
        if dictionary is not None:
            if not isinstance(dictionary, BackgroundDictionary):
                raise TypeError(f"dictionary: got {type(dictionary).__name__}, expected a BackgroundDictionary or None")
            if dictionary.reduction != "mean":
                raise ValueError(f"dictionary: got one with reduction={dictionary.reduction!r}, expected 'mean'")
        self.dictionary = dictionary

    def _evaluate(
        self, embeddings: Tensor, labels: Tensor, options: dict[str, Any]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if self.dictionary is not None:
            # A copy, since an update may follow before backward.
            options = {**options, "atoms": self.dictionary.atoms.clone(), "active": self.dictionary.active}
            if self.dictionary.use_prior:
                options["prior"] = self.dictionary.prior
        proxies = self._ready_proxies()
        total, parts = fused_objective(embeddings, labels, proxies, proxy_labels=self.proxy_labels, **options)
        return self._watched(total, proxies), parts

    def _call(
        self, embeddings: Tensor, labels: Tensor, proxies: Tensor, proxy_labels: Tensor | None, options: dict[str, Any]
    ) -> Any:
        return fused_objective(embeddings, labels, proxies, torch.eye(2), proxy_labels=proxy_labels, **options)
