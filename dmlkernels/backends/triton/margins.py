"""Launches of the kernels of what margins depend on, for batches whose time is launches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dmlkernels.backends.gpu import on_device
from dmlkernels.backends.gpu.layout import unit_stride
from dmlkernels.backends.gpu.splits import cdiv
from dmlkernels.backends.triton.plan import norm_tiles

MOST_ROWS = 2**16  # one program reads them all
_BLOCK = 1024


def suits(labels: Tensor) -> bool:
    """Whether one program should go through a value of each row."""
    return 0 < labels.shape[0] <= MOST_ROWS


def row_norms(vectors: Tensor, labels: Tensor) -> Tensor:  # (B, D), (B,) -> (B,)
    """L2 norms, float32 or wider; 0 of ignored rows."""
    from dmlkernels.backends.triton.kernels.margins import norms_kernel

    vectors = unit_stride(vectors)
    out = vectors.new_empty(vectors.shape[0], dtype=torch.promote_types(vectors.dtype, torch.float32))
    _by_rows(norms_kernel, vectors, vectors, labels, out, vectors.shape[0], vectors.stride(0))
    return out


def row_norms_backward(gradient: Tensor, vectors: Tensor, labels: Tensor, norms: Tensor) -> Tensor:
    """Gradient of the vectors from that of their norms."""
    from dmlkernels.backends.triton.kernels.margins import norms_slope_kernel

    vectors = unit_stride(vectors)
    out = vectors.new_empty(vectors.shape)
    _by_rows(
        norms_slope_kernel, vectors, vectors, labels, norms, gradient.contiguous(), out, vectors.shape[0],
        vectors.stride(0),
    )  # fmt: skip
    return out


def positive_cosines(vectors: Tensor, columns: Tensor, labels: Tensor) -> Tensor:  # (B, D), (C, D), (B,) -> (B,)
    """Cosines of vectors with the columns that their labels number, float32 or wider; 0 of ignored rows."""
    from dmlkernels.backends.triton.kernels.margins import positive_cosines_kernel

    vectors, columns = unit_stride(vectors), unit_stride(columns)
    dtype = torch.promote_types(torch.promote_types(vectors.dtype, columns.dtype), torch.float32)
    out = vectors.new_empty(vectors.shape[0], dtype=dtype)
    _by_rows(
        positive_cosines_kernel, vectors, vectors, columns, labels, out, vectors.shape[0], columns.shape[0],
        vectors.stride(0), columns.stride(0),
    )  # fmt: skip
    return out


def _by_rows(kernel: Any, vectors: Tensor, *args: Any) -> None:
    """Launch a kernel whose programs each take a few vectors."""
    from dmlkernels.backends.triton.launcher import launch

    m, block_d = norm_tiles(vectors.shape[1])
    m = max(1, m // 2)  # of two vectors at a time
    with on_device(vectors.device):
        launch(
            kernel, (cdiv(vectors.shape[0], m),),
            *args, DIM=vectors.shape[1], M=m, BLOCK_D=block_d,
        )  # fmt: skip


def norm_quality(
    norms: Tensor,  # (B,)
    labels: Tensor,  # (B,)
    mean: Tensor | None,  # (); None: the number, or the batch's
    std: Tensor | None,
    numbers: tuple[float, ...],  # bounds of the norm, eps, concentration, momentum, mean, std
    mean_given: bool,  # whether the number counts
    std_given: bool,
    update: bool,
) -> tuple[Tensor, Tensor]:  # (B,), (2,) float64
    """AdaFace's quality of each sample, and the mean and standard deviation that it is from."""
    from dmlkernels.backends.triton.kernels.margins import quality_kernel
    from dmlkernels.backends.triton.kernels.scalars import split_numbers
    from dmlkernels.backends.triton.launcher import launch

    quality, found = torch.empty_like(norms), norms.new_empty(2, dtype=torch.float64)
    with on_device(norms.device):
        launch(
            quality_kernel, (1,),
            norms, labels, mean, std, quality, found, norms.shape[0], split_numbers(numbers),
            MEAN_GIVEN=mean_given, STD_GIVEN=std_given, UPDATE=update, BLOCK=_BLOCK,
        )  # fmt: skip
    return quality, found


def curricular_values(
    cosines: Tensor,  # (B,)
    labels: Tensor,  # (B,)
    poison: Tensor,  # ()
    hardness: Tensor | None,  # (); None: the number
    numbers: tuple[float, ...],  # scale, cosine and sine of the margin, hardness, momentum
    update: bool,
) -> tuple[Tensor, Tensor]:  # (B, 3), (1,) float64
    """Scale, threshold and hardness of each sample, and the hardness, moved if ``update``."""
    from dmlkernels.backends.triton.kernels.margins import curricular_kernel
    from dmlkernels.backends.triton.kernels.scalars import split_numbers
    from dmlkernels.backends.triton.launcher import launch

    values, found = cosines.new_empty(cosines.shape[0], 3), cosines.new_empty(1, dtype=torch.float64)
    with on_device(cosines.device):
        launch(
            curricular_kernel, (1,),
            cosines, labels, poison, hardness, values, found, cosines.shape[0], split_numbers(numbers),
            UPDATE=update, BLOCK=_BLOCK,
        )  # fmt: skip
    return values, found
