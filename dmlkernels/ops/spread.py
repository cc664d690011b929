"""The custom ops behind SoftTriple's regulariser: distances among the centres of each class."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from dmlkernels.backends.blocked import spread as tensors
from dmlkernels.backends.native import spread as compiled
from dmlkernels.backends.triton import spread as kernels
from dmlkernels.ops.library import ReverseMode, register, register_backward

_SLACK = 1e-5  # the paper's, under the root


def _forward(centers: Tensor, group: int, weight: float, backend: str) -> Tensor:  # (N,)
    """Numbers whose sum is that over classes and pairs of their centres of weight * sqrt(2 + 1e-5 - 2 cos).

    Args:
        centers: (C * group, D), centre k of class c in row c * group + k.
        group: centres per class.
        backend: as resolved for these centres.
    """
    parts: Tensor = _engine(centers, group, backend).spread(centers, group, _SLACK, weight)
    return parts


def _fake_forward(centers: Tensor, group: int, weight: float, backend: str) -> Tensor:
    parts = kernels.num_parts(centers, group) if _engine(centers, group, backend) is kernels else 1
    return centers.new_empty(parts, dtype=torch.promote_types(centers.dtype, torch.float32))


def _backward(gradient: Tensor, centers: Tensor, group: int, weight: float, backend: str) -> Tensor:
    """Gradient of the centres. Has no derivative of its own."""
    found: Tensor = _engine(centers, group, backend).spread_backward(gradient, centers, group, _SLACK, weight)
    return found


def _fake_backward(gradient: Tensor, centers: Tensor, group: int, weight: float, backend: str) -> Tensor:
    return centers.new_empty(centers.shape)


def _engine(centers: Tensor, group: int, backend: str) -> ModuleType:
    if backend == "triton" and kernels.suits(centers, group):
        return kernels
    return compiled if backend == "native" and compiled.suits(centers) else tensors


class CenterSpread(ReverseMode):
    """center_spread, with center_spread_backward as its derivative."""

    @staticmethod
    def forward(ctx: Any, centers: Tensor, *options: Any) -> Tensor:
        parts: Tensor = center_spread(centers, *options)
        ctx.save_for_backward(centers)
        ctx.options = options
        return parts

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return center_spread_backward(gradient, *ctx.saved_tensors, *ctx.options), None, None, None


center_spread = register(
    "center_spread",
    "(Tensor centers, int group, float weight, str backend) -> Tensor",
    _forward,
    _fake_forward,
    CenterSpread,
)
center_spread_backward = register_backward(
    "center_spread_backward",
    "(Tensor gradient, Tensor centers, int group, float weight, str backend) -> Tensor",
    _backward,
    _fake_backward,
)
