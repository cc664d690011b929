"""The custom ops of what margins depend on, which a backend computes in a launch each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dmlkernels.backends.triton import margins
from dmlkernels.ops.library import ReverseMode, register, register_backward

suits_row_kernels = margins.suits


def _fake_norms(vectors: Tensor, labels: Tensor) -> Tensor:
    return vectors.new_empty(vectors.shape[0], dtype=torch.promote_types(vectors.dtype, torch.float32))


def _fake_backward(gradient: Tensor, vectors: Tensor, labels: Tensor, norms: Tensor) -> Tensor:
    return vectors.new_empty(vectors.shape)


def _fake_cosines(vectors: Tensor, columns: Tensor, labels: Tensor) -> Tensor:
    dtype = torch.promote_types(torch.promote_types(vectors.dtype, columns.dtype), torch.float32)
    return vectors.new_empty(vectors.shape[0], dtype=dtype)


def _quality(
    norms: Tensor, labels: Tensor, mean: Tensor | None, std: Tensor | None, numbers: Sequence[float],
    mean_given: bool, std_given: bool, update: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    return margins.norm_quality(norms, labels, mean, std, tuple(numbers), mean_given, std_given, update)


def _fake_quality(norms: Tensor, *args: object) -> tuple[Tensor, Tensor]:
    return torch.empty_like(norms), norms.new_empty(2, dtype=torch.float64)


def _curricular(
    cosines: Tensor, labels: Tensor, poison: Tensor, hardness: Tensor | None, numbers: Sequence[float], update: bool
) -> tuple[Tensor, Tensor]:
    return margins.curricular_values(cosines, labels, poison, hardness, tuple(numbers), update)


def _fake_curricular(cosines: Tensor, *args: object) -> tuple[Tensor, Tensor]:
    return cosines.new_empty(cosines.shape[0], 3), cosines.new_empty(1, dtype=torch.float64)


class RowNorms(ReverseMode):
    """row_norms, with row_norms_backward as its derivative."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, labels: Tensor) -> Tensor:
        norms: Tensor = row_norms(vectors, labels)
        ctx.save_for_backward(vectors, labels, norms)
        return norms

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return row_norms_backward(gradient, *ctx.saved_tensors), None


row_norms = register("row_norms", "(Tensor vectors, Tensor labels) -> Tensor", margins.row_norms, _fake_norms, RowNorms)
row_norms_backward = register_backward(
    "row_norms_backward",
    "(Tensor gradient, Tensor vectors, Tensor labels, Tensor norms) -> Tensor",
    margins.row_norms_backward,
    _fake_backward,
)
positive_cosines = register(
    "positive_cosines",
    "(Tensor vectors, Tensor columns, Tensor labels) -> Tensor",
    margins.positive_cosines,
    _fake_cosines,
)
norm_quality = register(
    "norm_quality",
    "(Tensor norms, Tensor labels, Tensor? mean, Tensor? std, float[] numbers, bool mean_given, bool std_given, "
    "bool update) -> (Tensor, Tensor)",
    _quality,
    _fake_quality,
)
curricular_values = register(
    "curricular_values",
    "(Tensor cosines, Tensor labels, Tensor poison, Tensor? hardness, float[] numbers, bool update) "
    "-> (Tensor, Tensor)",
    _curricular,
    _fake_curricular,
)
