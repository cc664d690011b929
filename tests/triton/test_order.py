"""Points in the order of their classes, as sorting gives it."""

from __future__ import annotations

import pytest
import torch

from dmlkernels.backends.gpu.layout import class_order
from dmlkernels.backends.pairs import Pairs
from dmlkernels.backends.triton import layout
from dmlkernels.statistics import IGNORED, Fused
from tests.triton.common import DEVICE, FIELD


@pytest.mark.parametrize("border", [None, 1, 64, 130])
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
    order, small = layout._sort(pairs, labels)
    assert torch.equal(order, class_order(labels, boundaries))
    monkeypatch.setattr(layout, "MOST_COUNTED", 0)
    more = torch.empty(0, dtype=torch.int64, device=DEVICE)
    if columns:
        more = torch.arange(columns, device=DEVICE) if given is None else given
    wide = torch.cat((labels[order], more))
    assert torch.equal(small[:, None] == small[None, :], wide[:, None] == wide[None, :])
    assert torch.equal(small == layout.INT32_IGNORED, wide == IGNORED)
    sorted_order, _ = layout._sort(pairs, labels)
    assert torch.equal(order, sorted_order)


def test_small_labels() -> None:
    labels = torch.tensor([0, 5, 6, 7, -1, -(2**50), 2**50, IGNORED], device=DEVICE)
    assert layout.small_labels(labels, 6).tolist() == [0, 5, 6, 6, -1, -1, 6, layout.INT32_IGNORED]
