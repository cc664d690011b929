"""Sizes around the borders of tiles, and what the launcher makes of memory layouts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.triton.common import DEVICE, KINDS, Maker, assert_agrees, every_kind, outcome, upstream

BORDERS = sorted({max(1, tile + step) for tile in (1, 16, 32) for step in (-1, 0, 1)})
pytestmark = pytest.mark.usefixtures("tiles_only")
sizes = st.sampled_from(BORDERS)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(KINDS), rows=sizes, columns=sizes, dim=sizes)
def test_sizes_around_tiles(kind: str, rows: int, columns: int, dim: int) -> None:
    assert_agrees(every_kind(Maker(max(rows, 2), max(columns, 2), dim))[kind], 1e-8)


def _strided(x: Tensor) -> Tensor:
    wide = x.new_full((*x.shape[:-1], 2 * x.shape[-1]), torch.nan)
    wide[..., ::2] = x
    return wide[..., ::2]


def _offset(x: Tensor) -> Tensor:
    wide = x.new_full((*x.shape[:-1], x.shape[-1] + 3), torch.nan)
    wide[..., 1:-2] = x
    return wide[..., 1:-2]


def _transposed(x: Tensor) -> Tensor:
    return x.mT.contiguous().mT


@pytest.mark.parametrize("layout", [_strided, _offset, _transposed])
@pytest.mark.parametrize("kind", ["logsumexp", "divergence", "fused"])
def test_layouts_give_the_same_bits(kind: str, layout: object) -> None:
    assert callable(layout)
    pairs = every_kind(Maker(19, 18, 17, torch.float32))[kind]
    laid_out = replace(pairs, rows=layout(pairs.rows), columns=None if pairs.columns is None else layout(pairs.columns))
    for one, other in zip(*(outcome("triton", p, upstream(p)) for p in (pairs, laid_out)), strict=True):
        assert one is not None and other is not None and torch.equal(one, other)


def test_rows_seen_many_times() -> None:
    """Stride 0 between rows."""
    pairs = every_kind(Maker(1, 18, 17))["logsumexp"]
    labels = torch.zeros(20, dtype=torch.int64, device=DEVICE)
    assert_agrees(replace(pairs, rows=pairs.rows.expand(20, 17), row_labels=labels), 1e-10)


@pytest.mark.parametrize("scale", [1e-20, 1e20, 1e30])
def test_float32_rows_of_any_scale(scale: float) -> None:
    """Neither products nor norms overflow."""
    pairs = every_kind(Maker(20, 18, 17, torch.float32))["moments"]
    assert pairs.columns is not None
    assert_agrees(replace(pairs, rows=pairs.rows * scale, columns=pairs.columns * scale), 1e-5)
