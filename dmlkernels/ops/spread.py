"""Distances among the centres of each class, summed, without keeping more than a block of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dmlkernels.backends.blocked.normalise import normalisation_backward, normalise

_BLOCK_ELEMENTS = 2**18  # a block and its temporaries stay in the cache
_SLACK = 1e-5  # the paper's, under the root


@torch.library.custom_op("dmlkernels::center_spread", mutates_args=(), schema="(Tensor centers, int group) -> Tensor")
def center_spread(centers: Tensor, group: int) -> Tensor:
    """Sum over classes and pairs of their centres of sqrt(2 + 1e-5 - 2 cos).

    Args:
        centers: (C * group, D), centre k of class c in row c * group + k.
        group: centres per class.
    """
    dtype = torch.promote_types(centers.dtype, torch.float32)
    total = centers.new_zeros((), dtype=dtype)
    for block in _blocks(centers, group):
        unit = normalise(centers[block], dtype)[0].unflatten(0, (-1, group))
        total += _distances(unit).triu(1).sum()
    return total


@center_spread.register_fake
def _(centers: Tensor, group: int) -> Tensor:
    return centers.new_empty((), dtype=torch.promote_types(centers.dtype, torch.float32))


@torch.library.custom_op(
    "dmlkernels::center_spread_backward",
    mutates_args=(),
    schema="(Tensor gradient, Tensor centers, int group) -> Tensor",
)
def center_spread_backward(gradient: Tensor, centers: Tensor, group: int) -> Tensor:
    """Gradient of the centres. Has no derivative of its own."""
    found = centers.new_empty(centers.shape)
    for block in _blocks(centers, group):
        flat, inverse = normalise(centers[block], gradient.dtype)
        unit = flat.unflatten(0, (-1, group))
        slope = _distances(unit).reciprocal_().neg_()
        slope.diagonal(dim1=1, dim2=2).zero_()
        with torch.autocast(unit.device.type, enabled=False):
            of_unit = (slope.mul_(gradient) @ unit).flatten(0, 1)
        found[block] = normalisation_backward(flat, inverse, of_unit).to(found.dtype)
    return found


@center_spread_backward.register_fake
def _(gradient: Tensor, centers: Tensor, group: int) -> Tensor:
    return centers.new_empty(centers.shape)


def _distances(unit: Tensor) -> Tensor:  # (C, group, group)
    with torch.autocast(unit.device.type, enabled=False):
        cosines = unit @ unit.mT
    return (2 + _SLACK - 2 * cosines).clamp_min_(torch.finfo(unit.dtype).tiny).sqrt_()


def _blocks(centers: Tensor, group: int) -> Iterator[slice]:
    length = max(1, _BLOCK_ELEMENTS // (centers.shape[1] * group)) * group
    for start in range(0, centers.shape[0], length):
        yield slice(start, start + length)


def _setup_context(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
    centers, ctx.group = inputs
    ctx.save_for_backward(centers)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    return center_spread_backward(gradient, *ctx.saved_tensors, ctx.group), None


center_spread.register_autograd(_backward, setup_context=_setup_context)
