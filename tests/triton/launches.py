"""The launches that ship, at named sizes, on tensors without memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dmlkernels.backends.pairs import Pairs
from dmlkernels.backends.triton import launch
from dmlkernels.statistics import Divergence, Field, Fused, LogSumExp, Moments, SoftTriple, Square
from tests.triton.compiling import TARGETS, Compiled, compiled

FIELD = (3.0, 0.2, 0.2, 1e-2, 1.0)


def _meta(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _labels(count: int) -> Tensor:
    return _meta(count, dtype=torch.int64)


Make = Callable[[int, int, int, torch.dtype], Pairs]


def _to_columns(statistic: object, labelled: bool = False) -> Make:
    def make(rows: int, columns: int, dim: int, dtype: torch.dtype) -> Pairs:
        return Pairs(
            statistic,  # type: ignore[arg-type]
            _meta(rows, dim, dtype=dtype),
            _meta(columns, dim, dtype=dtype),
            _labels(rows),
            _labels(columns) if labelled else None,
            _meta(columns, dtype=torch.float32),
        )

    return make


def _divergence(rows: int, columns: int, dim: int, dtype: torch.dtype) -> Pairs:
    return Pairs(Divergence(10.0, 1.0), _meta(2, rows, dim, dtype=dtype), _meta(columns, dim, dtype=dtype))


def _within(statistic: object, atoms: int) -> Make:
    def make(rows: int, columns: int, dim: int, dtype: torch.dtype) -> Pairs:
        points = rows + columns
        return Pairs(
            statistic,  # type: ignore[arg-type]
            _meta(points, dim, dtype=dtype),
            _meta(atoms, dim, dtype=dtype) if atoms else None,
            _labels(points),
            column_weights=_meta(atoms, dtype=torch.float32) if atoms else None,
            within=True,
            row_splits=(rows,),
        )

    return make


KINDS: dict[str, Make] = {
    "moments": _to_columns(Moments()),
    "logsumexp": _to_columns(LogSumExp(18.0, 18.0)),
    "logsumexp, labels given": _to_columns(LogSumExp(18.0, 18.0), labelled=True),
    "square": _to_columns(Square()),
    "divergence": _divergence,
    "soft_triple": _to_columns(SoftTriple(20.0, 0.1, 10.0)),
    "field": _within(Field(*FIELD), 0),
    "fused": _within(Fused(*FIELD), 64),
}


def compile_launches(
    kind: str, target: str, dtype: torch.dtype, dim: int, rows: int = 512, columns: int = 11_320
) -> list[Compiled]:
    """Every kernel of forward and backward of this kind."""
    pairs = KINDS[kind](rows, columns, dim, dtype)
    arch = TARGETS[target][1]
    with compiled(target) as found:
        forward = launch.forward(pairs, arch)
        gradient = torch.empty_like(forward.statistics)
        launch.backward(pairs, forward, gradient, True, pairs.columns is not None, arch)
    return found
