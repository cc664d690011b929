"""Row norms, compiled."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.backends.native import module


def reciprocal_norms(
    x: Tensor,  # (N, D) float32 or float64, on the CPU
) -> Tensor:  # (N,)
    """1 / max(||x_i||, 1e-12) of every row; NaN where the norm is not finite. Squares are summed in double."""
    if module.reason is not None:
        raise RuntimeError(module.reason)
    _check(x)
    wide = x.dtype == torch.float64
    run = module.compiled.reciprocal_norms_float64 if wide else module.compiled.reciprocal_norms_float32
    rows, dim = x.shape
    out = x.new_empty(rows)
    run(x.data_ptr(), out.data_ptr(), rows, dim, x.stride(0), torch.get_num_threads())
    return out


def _check(x: Tensor) -> None:
    if x.device.type != "cpu":
        raise ValueError(f"x must be on the CPU, got {x.device}")
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"x must be float32 or float64, got {x.dtype}")
    if x.dim() != 2:
        raise ValueError(f"x must have shape (N, D), got {tuple(x.shape)}")
    if x.shape[1] > 1 and x.stride(1) != 1:
        raise ValueError(f"x must have adjacent numbers in its rows, got strides {x.stride()}")
