"""Row-wise L2 normalisation of a block, and the way back through it."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from dmlkernels.backends.blocked import host

NORM_FLOOR = 1e-12


class Norms(Protocol):
    """Who normalises: this module, or its compiled twin."""

    def normalise(self, block: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]: ...

    def normalisation_backward(self, unit: Tensor, inverse: Tensor, gradient: Tensor) -> Tensor: ...


def normalise(block: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:  # (..., rows, D), (..., rows)
    """A normalised copy of a block and the reciprocals of its norms, which are floored at 1e-12.

    A row with a norm that is not finite becomes NaN: an infinite one must not turn into zeros.
    """
    inverse = _reciprocal_norms(block, dtype)
    return block * inverse[..., None], inverse


def normalisation_backward(unit: Tensor, inverse: Tensor, gradient: Tensor) -> Tensor:
    """Gradient of raw rows from that of unit rows, which it overwrites; zero for rows at the norm floor.

    Args:
        unit, inverse: what ``normalise`` gave.
        gradient: gradient of ``unit``, in its dtype.
    """
    inverse = torch.where(inverse >= 1 / NORM_FLOOR, 0, inverse)[..., None]
    radial = (gradient * unit).sum(-1, keepdim=True)
    return gradient.addcmul_(unit, radial, value=-1).mul_(inverse)


def _reciprocal_norms(block: Tensor, dtype: torch.dtype) -> Tensor:
    """A float32 row of any scale has them: if squares overflow they are summed in float64."""
    if host.readable(block):
        norms = torch.linalg.vector_norm(block, dim=-1, dtype=dtype)
        if not norms.isinf().any():
            return norms.clamp_min_(NORM_FLOOR).reciprocal_()
    norms = torch.linalg.vector_norm(block, dim=-1, dtype=torch.float64)
    return norms.clamp_min(NORM_FLOOR).reciprocal_().masked_fill_(norms.isinf(), torch.nan).to(dtype)
