"""Points in the order of their classes, as sorting gives it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dmlkernels.backends.gpu.layout import class_order
from dmlkernels.backends.pairs import Pairs
from dmlkernels.backends.triton import layout
from dmlkernels.backends.triton.saved import saved_size, split
from dmlkernels.statistics import IGNORED, Fused, LogSumExp
from tests.triton.common import DEVICE, FIELD

SMALL_IGNORED = torch.iinfo(torch.int32).min


@pytest.mark.parametrize("border", [None, 0, 1, 64, 130, 131])
@pytest.mark.parametrize("columns", [0, 3, 70])
def test_is_what_sorting_gives(border: int | None, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(columns)
    labels = torch.randint(-3, 9, (131,), generator=generator) * 2**40
    labels[::7] = IGNORED
    labels = labels.to(DEVICE)
    boundaries = () if border is None else (border,)
    given = torch.arange(columns, device=DEVICE) * 2**40 if columns == 70 else None
    pairs = Pairs(
        Fused(*FIELD), torch.randn(131, 4, device=DEVICE), torch.randn(columns, 4, device=DEVICE) if columns else None,
        labels, given, within=True, row_boundaries=boundaries,
    )  # fmt: skip
    order, small, points = arranged(pairs)
    assert torch.equal(order.long(), class_order(labels, boundaries))
    assert torch.equal(points[:131], pairs.rows[order.long()])
    assert pairs.columns is None or torch.equal(points[131:], pairs.columns)
    monkeypatch.setattr(layout, "MOST_COUNTED", 0)
    more = torch.empty(0, dtype=torch.int64, device=DEVICE)
    if columns:
        more = torch.arange(columns, device=DEVICE) if given is None else given
    wide = torch.cat((labels[order.long()], more))
    assert torch.equal(small[:, None] == small[None, :], wide[:, None] == wide[None, :])
    assert torch.equal(small == SMALL_IGNORED, wide == IGNORED)
    sorted_order, sorted_small, sorted_points = arranged(pairs)
    assert torch.equal(order, sorted_order) and torch.equal(points, sorted_points)
    # Columns meet points only.
    assert torch.equal(sorted_small[:131, None] == sorted_small[None, :], small[:131, None] == small[None, :])


def arranged(pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
    """Order, small labels and points, as forward keeps them."""
    parts = split(pairs.shape, pairs.rows.new_empty(saved_size(pairs.shape), dtype=pairs.dtype))
    points = layout.prepare(pairs, parts)
    assert points is not None and parts.order is not None and parts.labels is not None
    return parts.order[: pairs.num_rows], parts.labels[: points.shape[0]], points


def test_small_labels() -> None:
    """Numbers of columns, and what no column has: 6 or -1."""
    labels = torch.tensor([0, 5, 6, 7, -1, -(2**50), 2**50, IGNORED], device=DEVICE)
    pairs = Pairs(LogSumExp(1.0, 1.0), torch.randn(8, 4, device=DEVICE), torch.randn(6, 4, device=DEVICE), labels)
    parts = split(pairs.shape, pairs.rows.new_empty(saved_size(pairs.shape)))
    assert layout.prepare(pairs, parts) is None
    assert parts.labels is not None and parts.labels[:8].tolist() == [0, 5, 6, 6, -1, -1, 6, SMALL_IGNORED]
