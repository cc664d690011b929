"""Row-wise L2 normalisation, compiled: the twin of ``dmlkernels.backends.blocked.normalise``."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.backends.native import module


def normalise(block: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:  # (..., rows, D), (..., rows)
    """A normalised copy of a block and the reciprocals of its norms; squares are summed in double."""
    block = block.detach().to(dtype)
    if block.dim() != 2 or block.stride(1) != 1:
        block = block.contiguous()
    run = module.compiled.normalise_float64 if dtype == torch.float64 else module.compiled.normalise_float32
    inverse = block.new_empty(block.shape[:-1])  # first: the heap shrinks when the large one, at its end, is freed
    unit = block.new_empty(block.shape)
    dim = block.shape[-1]
    row_stride = block.stride(0) if block.dim() == 2 else dim
    run(
        block.data_ptr(),
        unit.data_ptr(),
        inverse.data_ptr(),
        inverse.numel(),
        dim,
        row_stride,
        torch.get_num_threads(),
    )
    return unit, inverse


def normalisation_backward(unit: Tensor, inverse: Tensor, gradient: Tensor) -> Tensor:
    """Gradient of raw rows from that of unit rows, which it overwrites; zero for rows at the norm floor."""
    wide = unit.dtype == torch.float64
    run = module.compiled.normalisation_backward_float64 if wide else module.compiled.normalisation_backward_float32
    unit, inverse, gradient = unit.contiguous(), inverse.contiguous(), gradient.contiguous()
    run(
        unit.data_ptr(),
        inverse.data_ptr(),
        gradient.data_ptr(),
        inverse.numel(),
        unit.shape[-1],
        torch.get_num_threads(),
    )
    return gradient
