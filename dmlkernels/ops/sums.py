"""The custom ops behind label smoothing: the weighted sum of unit vectors, without their normalised copy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dmlkernels.backends.blocked import host
from dmlkernels.backends.blocked.normalise import normalisation_backward, normalise
from dmlkernels.ops.library import ReverseMode, register, register_backward

_HOST_ELEMENTS, _DEVICE_ELEMENTS = 2**18, 2**24  # of a block


def _forward(
    vectors: Tensor,  # (C, D), float32 or float64
    weights: Tensor | None,  # (C,); None: all 1
) -> Tensor:  # (D,)
    """The sum of weight times vector over norm."""
    total = vectors.new_zeros(vectors.shape[1])
    for block in _blocks(vectors):
        unit, _ = normalise(vectors[block], vectors.dtype)
        total += unit.sum(0) if weights is None else weights[block] @ unit
    return total


def _fake_forward(vectors: Tensor, weights: Tensor | None) -> Tensor:
    return vectors.new_empty(vectors.shape[1])


def _backward(gradient: Tensor, vectors: Tensor, weights: Tensor | None) -> Tensor:
    """Gradient of the vectors. Has no derivative of its own."""
    found = vectors.new_empty(vectors.shape)
    for block in _blocks(vectors):
        unit, inverse = normalise(vectors[block], vectors.dtype)
        of_unit = gradient.expand(unit.shape).clone(memory_format=torch.contiguous_format)
        if weights is not None:
            of_unit.mul_(weights[block, None])
        found[block] = normalisation_backward(unit, inverse, of_unit)
    return found


def _fake_backward(gradient: Tensor, vectors: Tensor, weights: Tensor | None) -> Tensor:
    return vectors.new_empty(vectors.shape)


def _blocks(vectors: Tensor) -> Iterator[slice]:
    elements = _HOST_ELEMENTS if host.readable(vectors) else _DEVICE_ELEMENTS
    length = max(1, elements // vectors.shape[1])
    for start in range(0, vectors.shape[0], length):
        yield slice(start, start + length)


class UnitSum(ReverseMode):
    """unit_sum, with unit_sum_backward as its derivative; the weights have none."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, weights: Tensor | None) -> Tensor:
        total: Tensor = unit_sum(vectors, weights)
        ctx.save_for_backward(vectors, weights)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return unit_sum_backward(gradient, *ctx.saved_tensors), None


unit_sum = register("unit_sum", "(Tensor vectors, Tensor? weights) -> Tensor", _forward, _fake_forward, UnitSum)
unit_sum_backward = register_backward(
    "unit_sum_backward",
    "(Tensor gradient, Tensor vectors, Tensor? weights) -> Tensor",
    _backward,
    _fake_backward,
)
