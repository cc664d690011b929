"""Distances among the centres of each class, compiled: the twin of ``dmlkernels.backends.blocked.spread``."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.backends.native import module


def suits(centers: Tensor) -> bool:
    """Whether the engine can read these centres as they are."""
    return centers.device.type == "cpu" and centers.dtype in (torch.float32, torch.float64) and centers.stride(1) == 1


def spread(centers: Tensor, group: int, slack: float, weight: float) -> Tensor:  # (C * group, D) -> (1,)
    """Sum over classes and pairs of their centres of weight * sqrt(2 + slack - 2 cos)."""
    total = module.kernels().spread(_describe(centers, group, slack))
    return centers.new_tensor([weight * total])


def spread_backward(gradient: Tensor, centers: Tensor, group: int, slack: float, weight: float) -> Tensor:
    """Gradient of the centres from that of the sum."""
    gradient = gradient * weight
    found = centers.new_empty(centers.shape)
    described = _describe(centers, group, slack)
    described.gradient, described.of_values = gradient.data_ptr(), found.data_ptr()
    module.kernels().spread_backward(described)
    return found


def _describe(centers: Tensor, group: int, slack: float) -> module.compiled.Centers:
    described = module.compiled.Centers()
    described.wide = centers.dtype == torch.float64
    described.values, described.stride, described.dim = centers.data_ptr(), centers.stride(0), centers.shape[1]
    described.classes, described.group = centers.shape[0] // group, group
    described.slack, described.threads = slack, torch.get_num_threads()
    return described
