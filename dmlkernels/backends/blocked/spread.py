"""Distances among the centres of each class, a block of classes at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dmlkernels.backends.autocast import without_autocast
from dmlkernels.backends.blocked import host
from dmlkernels.backends.blocked.normalise import normalisation_backward, normalise

BLOCK_ELEMENTS = 2**18  # a block and its temporaries stay in the cache
DEVICE_ELEMENTS = 2**24  # off the CPU: few launches, in bounded memory


def spread(centers: Tensor, group: int, slack: float, weight: float) -> Tensor:  # (C * group, D) -> (1,)
    """Sum over classes and pairs of their centres of weight * sqrt(2 + slack - 2 cos)."""
    dtype = torch.promote_types(centers.dtype, torch.float32)
    total = centers.new_zeros(1, dtype=dtype)
    for block in _blocks(centers, group):
        unit = normalise(centers[block], dtype)[0].unflatten(0, (-1, group))
        total += _distances(unit, slack).triu(1).sum()
    return total.mul_(weight)


def spread_backward(gradient: Tensor, centers: Tensor, group: int, slack: float, weight: float) -> Tensor:
    """Gradient of the centres from that of the sum."""
    gradient = gradient * weight
    found = centers.new_empty(centers.shape)
    for block in _blocks(centers, group):
        flat, inverse = normalise(centers[block], gradient.dtype)
        unit = flat.unflatten(0, (-1, group))
        slope = _distances(unit, slack).reciprocal_().neg_()
        slope.diagonal(dim1=1, dim2=2).zero_()
        with without_autocast(unit.device.type):
            of_unit = (slope.mul_(gradient) @ unit).flatten(0, 1)
        found[block] = normalisation_backward(flat, inverse, of_unit).to(found.dtype)
    return found


def _distances(unit: Tensor, slack: float) -> Tensor:  # (C, group, group)
    with without_autocast(unit.device.type):
        cosines = unit @ unit.mT
    return (2 + slack - 2 * cosines).clamp_min_(torch.finfo(unit.dtype).tiny).sqrt_()


def _blocks(centers: Tensor, group: int) -> Iterator[slice]:
    elements = BLOCK_ELEMENTS if host.readable(centers) else DEVICE_ELEMENTS
    length = max(1, elements // (centers.shape[1] * group)) * group
    for start in range(0, centers.shape[0], length):
        yield slice(start, start + length)
