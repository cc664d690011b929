"""The custom op behind SoftTriple's regulariser: distances among the centres of each class."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from dmlkernels.backends.blocked import spread as tensors
from dmlkernels.backends.native import spread as compiled

_SLACK = 1e-5  # the paper's, under the root


@torch.library.custom_op(
    "dmlkernels::center_spread", mutates_args=(), schema="(Tensor centers, int group, str backend) -> Tensor"
)
def center_spread(centers: Tensor, group: int, backend: str) -> Tensor:
    """Sum over classes and pairs of their centres of sqrt(2 + 1e-5 - 2 cos).

    Args:
        centers: (C * group, D), centre k of class c in row c * group + k.
        group: centres per class.
        backend: as resolved for these centres.
    """
    total: Tensor = _engine(centers, backend).spread(centers, group, _SLACK)
    return total


@center_spread.register_fake
def _(centers: Tensor, group: int, backend: str) -> Tensor:
    return centers.new_empty((), dtype=torch.promote_types(centers.dtype, torch.float32))


@torch.library.custom_op(
    "dmlkernels::center_spread_backward",
    mutates_args=(),
    schema="(Tensor gradient, Tensor centers, int group, str backend) -> Tensor",
)
def center_spread_backward(gradient: Tensor, centers: Tensor, group: int, backend: str) -> Tensor:
    """Gradient of the centres. Has no derivative of its own."""
    found: Tensor = _engine(centers, backend).spread_backward(gradient, centers, group, _SLACK)
    return found


@center_spread_backward.register_fake
def _(gradient: Tensor, centers: Tensor, group: int, backend: str) -> Tensor:
    return centers.new_empty(centers.shape)


def _engine(centers: Tensor, backend: str) -> ModuleType:
    return compiled if backend == "native" and compiled.suits(centers) else tensors


def _setup_context(ctx: Any, inputs: tuple[Tensor, int, str], output: Tensor) -> None:
    centers, *ctx.rest = inputs
    ctx.save_for_backward(centers)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
    return center_spread_backward(gradient, *ctx.saved_tensors, *ctx.rest), None, None


center_spread.register_autograd(_backward, setup_context=_setup_context)
