"""Row-wise L2 normalisation of a block, and the way back through it."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from dmlkernels.backends.blocked import host

NORM_FLOOR = 1e-12
# A row with an entry above the first is multiplied by the second, a power of two, before its entries are squared: then
# no square overflows, none that matters underflows, and the norm stays above its floor.
_LARGE = {torch.float32: 2.0**40, torch.float64: 2.0**500}
_SHRINK = {torch.float32: 2.0**-74, torch.float64: 2.0**-530}


class Norms(Protocol):
    """Who normalises: this module, or its compiled twin."""

    def normalise(self, block: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]: ...

    def normalisation_backward(self, unit: Tensor, inverse: Tensor, gradient: Tensor) -> Tensor: ...


def normalise(block: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:  # (..., rows, D), (..., rows)
    """Make a normalised copy of a block; also give the reciprocals of its norms, which are floored at 1e-12.

    A row of any finite scale has a unit row. A row with a norm that is not finite becomes NaN: an infinite one must not
    turn into zeros.
    """
    if host.readable(block):
        norms = torch.linalg.vector_norm(block, dim=-1, dtype=dtype)
        if not (norms > _LARGE[dtype]).any():
            inverse = norms.clamp_min_(NORM_FLOOR).reciprocal_()
            return block * inverse[..., None], inverse
    if block.dtype.itemsize < dtype.itemsize == 8:  # no square can overflow
        inverse = finite_norms(wide := block.to(dtype)).clamp_min_(NORM_FLOOR).reciprocal_()
        return wide.mul_(inverse), inverse[..., 0]
    scaled, shrink = shrunk(block.to(dtype))
    inverse = finite_norms(scaled).clamp_min(NORM_FLOOR).reciprocal_()
    return scaled * inverse, (inverse * shrink)[..., 0]


def normalisation_backward(unit: Tensor, inverse: Tensor, gradient: Tensor) -> Tensor:
    """Gradient of raw rows from that of unit rows, which it overwrites; zero for rows at the norm floor.

    Args:
        unit, inverse: what ``normalise`` gave.
        gradient: gradient of ``unit``, in its dtype.
    """
    inverse = torch.where(inverse >= 1 / NORM_FLOOR, 0, inverse)[..., None]
    radial = (gradient * unit).sum(-1, keepdim=True)
    return gradient.addcmul_(unit, radial, value=-1).mul_(inverse)


def shrunk(rows: Tensor) -> tuple[Tensor, Tensor]:  # (..., rows, D), (..., rows, 1)
    """Rows multiplied by a power of two where their squares might overflow, and that power."""
    largest = rows.detach().abs().amax(-1, keepdim=True)
    shrink = torch.ones_like(largest).masked_fill_(largest > _LARGE[rows.dtype], _SHRINK[rows.dtype])
    return rows * shrink, shrink


def finite_norms(rows: Tensor) -> Tensor:  # (..., rows, 1)
    """Norms of rows whose squares do not overflow; NaN instead of infinity."""
    norms = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return norms.masked_fill(norms.isinf(), torch.nan)
