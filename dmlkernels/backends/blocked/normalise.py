"""Row-wise L2 normalisation of a block, and the way back through it."""

from __future__ import annotations

import torch
from torch import Tensor

NORM_FLOOR = 1e-12


def reciprocal_norms(block: Tensor, dtype: torch.dtype) -> Tensor:  # (..., rows)
    """1 / max(norm, 1e-12); NaN where the norm is not finite, so that no infinite row turns into zeros.

    Squares are summed in float64: a float32 row of any scale has a norm, and its rounding does not grow with D.
    """
    norms = torch.linalg.vector_norm(block, dim=-1, dtype=torch.float64)
    return norms.clamp_min(NORM_FLOOR).reciprocal_().masked_fill_(norms.isinf(), torch.nan).to(dtype)


def normalise(block: Tensor, dtype: torch.dtype) -> Tensor:  # (..., rows, D)
    """A normalised copy of a block."""
    return block.to(dtype) * reciprocal_norms(block, dtype)[..., None]


def normalisation_backward(block: Tensor, unit: Tensor, gradient: Tensor) -> Tensor:
    """Gradient of raw rows from that of unit rows, which it overwrites; zero for rows at the norm floor.

    Args:
        block: raw rows, (..., rows, D).
        unit: the same normalised.
        gradient: gradient of ``unit``, in its dtype.
    """
    inverse = reciprocal_norms(block, unit.dtype)
    inverse = torch.where(inverse >= 1 / NORM_FLOOR, 0, inverse)[..., None]
    radial = (gradient * unit).sum(-1, keepdim=True)
    return gradient.addcmul_(unit, radial, value=-1).mul_(inverse)
