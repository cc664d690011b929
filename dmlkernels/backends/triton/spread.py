"""Distances among centres by kernels, one launch each way: the twin of ``dmlkernels.backends.blocked.spread``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dmlkernels.backends.gpu import on_device
from dmlkernels.backends.gpu.layout import unit_stride
from dmlkernels.backends.gpu.splits import cdiv
from dmlkernels.backends.triton.plan import fits, next_power_of_2

_ROWS = 16  # of a tile, at least: the least that can be multiplied
_BLOCK_D, _BLOCK_D_DOUBLES = 64, 16  # numbers of a vector at a time


def suits(centers: Tensor, group: int) -> bool:
    """Whether a tile holds all centres of a class."""
    return fits(group) and centers.shape[0] > 0


def num_parts(centers: Tensor, group: int) -> int:
    """Numbers that ``spread`` gives."""
    return _launch(centers, group)[0]


def spread(centers: Tensor, group: int, slack: float, weight: float) -> Tensor:  # (C * group, D) -> (N,)
    """Numbers whose sum is that over classes and pairs of their centres of weight * sqrt(2 + slack - 2 cos)."""
    from dmlkernels.backends.triton.kernels.scalars import split_numbers
    from dmlkernels.backends.triton.kernels.spread import spread_kernel
    from dmlkernels.backends.triton.launcher import launch

    centers, (programs, options) = unit_stride(centers), _launch(centers, group)
    parts = centers.new_empty(programs, dtype=torch.promote_types(centers.dtype, torch.float32))
    with on_device(centers.device):
        launch(
            spread_kernel, (programs,),
            centers, parts, centers.shape[0] // group, centers.stride(0), split_numbers((weight,)),
            SLACK=slack, GROUP=group, **options,
        )  # fmt: skip
    return parts


def spread_backward(gradient: Tensor, centers: Tensor, group: int, slack: float, weight: float) -> Tensor:
    """Gradient of the centres from those of the parts."""
    from dmlkernels.backends.triton.kernels.scalars import split_numbers
    from dmlkernels.backends.triton.kernels.spread import spread_slope_kernel
    from dmlkernels.backends.triton.launcher import launch

    found = centers.new_empty(centers.shape)
    centers, (programs, options) = unit_stride(centers), _launch(centers, group)
    with on_device(centers.device):
        launch(
            spread_slope_kernel, (programs,),
            centers, gradient, found, centers.shape[0] // group, centers.stride(0), gradient.stride(0),
            split_numbers((weight,)), SLACK=slack, GROUP=group, **options,
        )  # fmt: skip
    return found


def _launch(centers: Tensor, group: int) -> tuple[int, dict[str, Any]]:
    """Programs, and what the kernels know when they are compiled."""
    padded = next_power_of_2(group)
    rows = max(_ROWS, padded)
    most = _BLOCK_D_DOUBLES if centers.dtype == torch.float64 else _BLOCK_D
    block_d = max(_ROWS, min(most, next_power_of_2(centers.shape[1])))
    programs = cdiv(centers.shape[0] // group, rows // padded)
    return programs, {"PADDED": padded, "DIM": centers.shape[1], "M": rows, "BLOCK_D": block_d}
