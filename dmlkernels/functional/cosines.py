"""Unit rows and dense cosines in differentiable PyTorch, for what is no loss: logits, descriptors, class means."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.backends.autocast import without_autocast
from dmlkernels.backends.blocked.normalise import NORM_FLOOR, finite_norms, shrunk


def unit_rows(rows: Tensor, dtype: torch.dtype | None = None) -> Tensor:  # (..., N, D)
    """Rows divided by their L2 norms as the losses do it: of any scale, in float32 or wider, also under autocast.

    Zero rows stay zero and are constants to autograd; a row with a norm that is not finite becomes NaN.

    Args:
        rows: (..., N, D), any floating type.
        dtype: of the result; default float32, or float64 for float64 rows.

    Example:
        >>> unit_rows(torch.tensor([[3e30, 4e30], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    scaled, _ = shrunk(rows.to(dtype or torch.promote_types(rows.dtype, torch.float32)))
    norms = finite_norms(scaled)
    unit = scaled / norms.clamp_min(NORM_FLOOR)
    return torch.where(norms <= NORM_FLOOR, unit.detach(), unit)


def cosines(embeddings: Tensor, proxies: Tensor) -> Tensor:  # (B, D), (C, D) -> (B, C)
    """Dense cosines in float32 or wider, also under autocast. The one B x C matrix: it is what was asked for."""
    dtype = torch.promote_types(torch.promote_types(embeddings.dtype, proxies.dtype), torch.float32)
    with without_autocast(embeddings.device.type):
        return unit_rows(embeddings, dtype) @ unit_rows(proxies, dtype).mT
