"""Every statistic against the torch backend in float64; gradients against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dmlkernels import backends, ops
from dmlkernels.backends.pairs import Pairs
from dmlkernels.backends.triton.availability import interpreted
from dmlkernels.backends.triton.tiles import Tiles
from dmlkernels.statistics import Moments, SoftTriple
from tests.triton.common import DEVICE, KINDS, Maker, assert_agrees, every_kind, outcome, upstream

TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5, torch.float16: 2e-3}
every_statistic = pytest.mark.parametrize("kind", KINDS)
pytestmark = pytest.mark.usefixtures("tiles_only")


@pytest.mark.sampled(2)
@every_statistic
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_agrees_with_torch(kind: str, dtype: torch.dtype) -> None:
    assert_agrees(every_kind(Maker(dtype=dtype))[kind], TOLERANCE[dtype])


@pytest.mark.sampled(2)
@every_statistic
def test_shares_merge(kind: str, many_splits: None) -> None:
    """Columns, and in backward either side, split over several programs."""
    assert_agrees(every_kind(Maker(21, 70, 20))[kind], 1e-10)


@pytest.mark.sampled(2)
@every_statistic
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_one_launch_finds_both_gradients(kind: str, dtype: torch.dtype, scheduled: Callable[[str, Any], None]) -> None:
    """As a launch for each does, to the last bit; on a GPU the compiler may round otherwise."""
    pairs = every_kind(Maker(dtype=dtype))[kind]
    at_once = outcome("triton", pairs, upstream(pairs))
    scheduled("MOST_STREAMED", 0)
    scheduled("num_splits", lambda *args: 1)
    apart = outcome("triton", pairs, upstream(pairs))
    for one, other in zip(at_once, apart, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0 if interpreted() else TOLERANCE[dtype], equal_nan=True)


@every_statistic
def test_several_blocks_of_numbers(kind: str) -> None:
    assert_agrees(every_kind(Maker(9, 11, 50))[kind], 1e-10)


@every_statistic
def test_mixed_dtypes_are_computed_in_float32(kind: str) -> None:
    pairs = every_kind(Maker(dtype=torch.float16))[kind]
    if pairs.columns is None:
        pytest.skip("one set of vectors")
    assert_agrees(replace(pairs, columns=pairs.columns.float()), 2e-3)


@every_statistic
def test_gradcheck(kind: str) -> None:
    if kind == "divergence":
        pytest.skip("its targets are held fixed: the gradient is not that of the value")
    pairs = every_kind(Maker(5, 4, 3))[kind]
    columns = () if pairs.columns is None else (pairs.columns.requires_grad_(),)

    def call(rows: Tensor, *columns: Tensor) -> Tensor:
        found = ops.pair_statistics(
            pairs.statistic, rows, *columns, backend="triton", row_values=pairs.row_values, row_labels=pairs.row_labels,
            column_labels=pairs.column_labels, column_weights=pairs.column_weights, within=pairs.within,
            row_boundaries=pairs.row_boundaries, column_boundaries=pairs.column_boundaries,
        )  # fmt: skip
        if kind.startswith("row_"):
            found = found[:, :2]  # its means have no derivative
        if kind == "divergence_exact":
            highest, highest2, _, _, mean, divergence = found.unbind(1)  # a mean's gradient is that of E[l - l']
            found = torch.stack((mean + (highest - highest2).detach(), divergence), dim=1)
        return found.where(found.isfinite(), 0)

    # Along random directions: one derivative by differences for each number would take the interpreter three minutes.
    assert torch.autograd.gradcheck(call, (pairs.rows.requires_grad_(), *columns), fast_mode=True)


@pytest.mark.parametrize("centers", [32, 33, 300])
def test_classes_of_many_centers(centers: int) -> None:
    """As many as a tile holds; more are the torch backend's."""
    assert_agrees(Maker(9, 3 * centers, 20, torch.float32).to_columns(SoftTriple(20.0, 0.1, float(centers))), 2e-5)


@pytest.mark.sampled(2)
@every_statistic
def test_repeats_bit_for_bit(kind: str, many_splits: None) -> None:
    pairs = every_kind(Maker(21, 40, 9, torch.float32))[kind]
    first, second = (outcome("triton", pairs, upstream(pairs)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert (one is None and other is None) or torch.equal(one, other)


@pytest.mark.sampled(2)
@every_statistic
def test_a_nan_is_passed_on(kind: str) -> None:
    """A row that is not finite spoils its own statistics and gradient, and never looks plausible."""
    pairs = every_kind(Maker(dtype=torch.float32))[kind]
    for poison in (torch.nan, torch.inf):
        rows = pairs.rows.clone()
        rows[..., 0, 3] = poison
        found = outcome("triton", replace(pairs, rows=rows), upstream(pairs))
        assert found.statistics[0].isnan().any()
        assert found.rows is not None and found.rows[..., 0, :].isnan().any()


@pytest.mark.sampled(2)
@every_statistic
def test_ignored_rows_may_hold_anything(kind: str) -> None:
    pairs = every_kind(Maker(dtype=torch.float32))[kind]
    if pairs.row_labels is None:
        pytest.skip("no labels")
    ignored = pairs.row_labels < 0
    rows = pairs.rows.masked_fill(ignored[:, None], torch.nan)
    found, clean = (outcome("triton", replace(pairs, rows=given), upstream(pairs)) for given in (rows, pairs.rows))
    for one, other in zip(found, clean, strict=True):
        assert (one is None and other is None) or torch.equal(one, other)
    assert found.rows is not None and not found.rows[ignored].any() and not found.statistics[ignored].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_what_a_tile_lacks_does_not_round_the_mean(dtype: torch.dtype, scheduled: Callable[[str, Any], None]) -> None:
    """Of one or two negatives in a tile whose other places are laid to their mean; all cosines are 1."""
    scheduled("forward_tiles", lambda *args: Tiles(64, 64, 16, 16, 4, 1))
    for seed in range(20):
        row = 21 * torch.randn(1, 4, generator=torch.Generator().manual_seed(seed))
        rows = row.to(DEVICE, dtype).expand(3, 4).contiguous()
        pairs = Pairs(Moments(), rows, row_labels=torch.tensor([0, 0, 1], device=DEVICE), within=True)
        means = backends.get("triton").forward(pairs).statistics[:, 4]
        assert (means - 1).abs().max() <= 4 * torch.finfo(torch.float32).eps
