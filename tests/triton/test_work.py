"""The operations that benchmarks divide by a time are those of the launches."""

from __future__ import annotations

import pytest
import torch

from benchmarks.problems.work import acting, counted
from dmlkernels.backends.pairs import Pairs
from dmlkernels.backends.triton.saved import FLAG_COLUMNS, FLAG_ROWS
from dmlkernels.statistics import Field
from tests.triton.common import DEVICE, Maker, every_kind, outcome, upstream

ROWS, COLUMNS = 21, 36
pytestmark = pytest.mark.usefixtures("tiles_only")


@pytest.mark.parametrize(("dim", "slices"), [(16, 1), (20, 2)])  # of 16 components each
@pytest.mark.parametrize("kind", ["moments", "logsumexp_labelled", "divergence", "moments_within"])
def test_products_of_a_step(kind: str, dim: int, slices: int) -> None:
    pairs = every_kind(Maker(ROWS, COLUMNS, dim, torch.float32))[kind]
    columns = pairs.num_rows if pairs.within else pairs.num_columns
    scores = 2 * pairs.num_rows * columns * dim * pairs.statistic.views
    with counted() as work:
        outcome("triton", pairs, upstream(pairs))
    sides = 1 if pairs.columns is None else 2
    assert work.flops == scores * (1 + sides * (slices + 1))  # each slice scores again


def test_areas_without_a_slope_do_not_count() -> None:
    maker = Maker(2 * FLAG_ROWS, 4, 8, torch.float32)
    labels = torch.arange(2, device=DEVICE).repeat_interleave(FLAG_ROWS)
    points = 4 * torch.eye(8, device=DEVICE)[labels] + maker.normal(2 * FLAG_ROWS, 8)
    pairs = Pairs(Field(3.0, 0.2, 0.2, 1e-2, 1.0), points, None, labels, within=True)
    scores = 2 * (2 * FLAG_ROWS) ** 2 * 8
    with counted() as work:
        outcome("triton", pairs, upstream(pairs))
    assert work.flops == scores + 2 * scores / 2  # half of the pairs are of one class


def test_share_of_flags() -> None:
    assert acting(None, 5, 5) == 1
    words = torch.tensor([0b1011, -1], dtype=torch.int32)
    assert acting(words, FLAG_ROWS, 4 * FLAG_COLUMNS) == 3 / 4
    assert acting(words, FLAG_ROWS, 64 * FLAG_COLUMNS) == 35 / 64
