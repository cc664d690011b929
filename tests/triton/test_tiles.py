"""Tiles as large as those that ship, with labels that hit them, miss them, lie at their borders or are ignored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dmlkernels.backends.pairs import Pairs
from dmlkernels.backends.triton.tiles import Tiles
from dmlkernels.statistics import IGNORED, Divergence, Field, Fused, LogSumExp, Moments, Statistic
from tests.triton.common import DEVICE, FIELD, Maker, assert_agrees

FORWARD, BACKWARD = Tiles(128, 64, 32, 32, 4, 1), Tiles(64, 64, 32, 32, 4, 1)
ROWS, COLUMNS, DIM = 150, 330, 24
pytestmark = pytest.mark.usefixtures("tiles_only", "_tiles")


@pytest.fixture
def _tiles(scheduled: Callable[[str, Any], None]) -> None:
    scheduled("forward_tiles", lambda *args: FORWARD)
    scheduled("backward_tiles", lambda *args: BACKWARD)


def _labels(pattern: str, count: int, classes: int) -> Tensor:
    numbers = torch.arange(count)
    labels = {
        "spread": numbers * 7 % classes,
        "one tile": 70 + numbers % 3,
        "at borders": torch.tensor([0, 63, 64, 127, 128, classes - 1])[numbers % 6],
        "last tile": classes - 1 - numbers % 5,
        "some ignored": (numbers * 5 % classes).masked_fill(numbers % 4 == 1, IGNORED),
        "a block ignored": (numbers % classes).masked_fill(numbers < 128, IGNORED),
    }
    return labels[pattern].to(DEVICE)


@pytest.mark.parametrize(
    "pattern", ["spread", "one tile", "at borders", "last tile", "some ignored", "a block ignored"]
)
@pytest.mark.parametrize("statistic", [LogSumExp(-3.0, 18.3), Moments()], ids=lambda one: one.name)
def test_labels_that_are_column_numbers(statistic: Statistic, pattern: str) -> None:
    maker = Maker(ROWS, COLUMNS, DIM, torch.float32)
    rows, columns = (maker.normal(count, DIM) for count in (ROWS, COLUMNS))
    assert_agrees(Pairs(statistic, rows, columns, _labels(pattern, ROWS, COLUMNS)), 2e-5)


@pytest.mark.parametrize("pattern", ["spread", "some ignored"])
@pytest.mark.parametrize(
    "statistic", [LogSumExp(4.0, 18.3), LogSumExp(4.0, -5.0), Moments()], ids=["logsumexp", "negative", "moments"]
)
def test_given_labels(statistic: Statistic, pattern: str) -> None:
    """Eleven columns a class in order, and the last class by itself; some columns are ignored."""
    maker = Maker(ROWS, COLUMNS, DIM, torch.float32)
    rows, columns = (maker.normal(count, DIM) for count in (ROWS, COLUMNS))
    column_labels = torch.arange(COLUMNS, device=DEVICE) // 11
    column_labels[200:203] = IGNORED
    row_labels = _labels(pattern, ROWS, COLUMNS // 11).sort().values
    assert_agrees(Pairs(statistic, rows, columns, row_labels, column_labels), 2e-5)


def test_two_views() -> None:
    """Rows that fill no group of eight."""
    maker = Maker(21, 150, DIM, torch.float32)
    assert_agrees(maker.to_columns(Divergence(12.3, 1.0)), 2e-5)


def test_points_with_flags_of_several_areas() -> None:
    maker = Maker(ROWS, 4, DIM, torch.float32)
    pairs = maker.within(Field(*FIELD), 100)
    assert pairs.row_labels is not None
    far = replace(pairs, rows=pairs.rows + 4 * maker.normal(6, DIM)[pairs.row_labels.clamp_min(0)])
    assert_agrees(far, 1e-4)


def test_proxies_too_far_for_the_field_have_gradients_of_moments() -> None:
    """Areas of samples and proxies, from either end: no hill reaches a proxy there, whose row has no moments either."""
    maker = Maker(ROWS, 4, DIM, torch.float32)
    pairs = maker.within(Fused(3.0, 0.05, 0.1, 1e-2, 1.0), 64, columns=True)
    assert_agrees(replace(pairs, row_labels=torch.arange(ROWS, device=DEVICE)), 2e-5)


def test_scores_far_from_zero_keep_their_variance() -> None:
    """Moments about a running mean: cosines near 1 whose deviations are of a thousandth."""
    maker = Maker(ROWS, COLUMNS, DIM, torch.float64)
    common = maker.normal(1, DIM)
    rows, columns = (common + 0.02 * maker.normal(count, DIM) for count in (ROWS, COLUMNS))
    assert_agrees(Pairs(Moments(), rows, columns, _labels("spread", ROWS, COLUMNS)), 1e-9)
