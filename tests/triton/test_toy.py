"""A new statistic takes a few lines: a contrastive one, defined here, that pulls own pairs and pushes others apart."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

from dmlkernels import ops
from dmlkernels.backends.triton.epilogues import Epilogue, base, register
from dmlkernels.backends.triton.epilogues.common import cosines, merge_sum
from dmlkernels.backends.triton.epilogues.field import field_values
from dmlkernels.backends.triton.kernels.scalars import number
from dmlkernels.statistics import CATALOGUE, Statistic, Tile
from dmlkernels.statistics.base import State
from tests.triton.common import DEVICE


class Contrastive(Statistic):
    """One column: sum of (1 - s) over own pairs and of max(s - margin, 0) over others."""

    name = "toy_contrastive"
    width = 1

    def __init__(self, margin: float) -> None:
        self.margin = margin

    def parameters(self) -> list[float]:
        return [self.margin]

    def empty(self, num_rows: int, like: Tensor) -> State:
        return (like.new_zeros(num_rows),)

    def fold(self, tile: Tile) -> State:
        raise NotImplementedError("only the kernels run in this test")

    def merge(self, first: State, second: State) -> State:
        raise NotImplementedError

    def slope(self, tile: Tile, statistics: Tensor, gradient: Tensor) -> Tensor:
        raise NotImplementedError


@triton.jit
def fold_contrastive(state, scores, factor, masks, values, weight, segments, hyper):  # noqa: ANN001, ANN201
    scores = cosines(scores, factor)
    penalty = tl.maximum(scores - number(hyper, 0, scores.dtype), 0.0)
    if len(masks) > 0:
        penalty = tl.where(masks[0], 1.0 - scores, tl.where(masks[1], penalty, 0.0))
    return (state[0] + tl.sum(penalty, 1),), 0


@triton.jit
def slope_contrastive(scores, factor, masks, values, weight, segments, hyper):  # noqa: ANN001, ANN201
    beyond = cosines(scores, factor) > number(hyper, 0, scores.dtype)
    if len(masks) == 0:
        return tl.where(beyond, values[0], 0.0)
    else:
        return tl.where(masks[0], -values[0], tl.where(masks[1] & beyond, values[0], 0.0))


@pytest.fixture
def contrastive(monkeypatch: pytest.MonkeyPatch) -> Iterator[Contrastive]:
    monkeypatch.setitem(CATALOGUE, Contrastive.name, Contrastive)
    register(
        Contrastive,
        Epilogue(
            fold_contrastive, merge_sum, slope_contrastive, empty=(0.0,), num_values=1,
            values=field_values, hyper=Contrastive.parameters,
        ),
    )  # fmt: skip
    yield Contrastive(0.2)
    del base._EPILOGUES[Contrastive]


@pytest.mark.parametrize("within", [False, True])
def test_toy_loss(contrastive: Contrastive, within: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(21, 7, dtype=torch.float64, generator=generator).to(DEVICE).requires_grad_()
    w = x if within else torch.randn(18, 7, dtype=torch.float64, generator=generator).to(DEVICE).requires_grad_()
    labels = torch.arange(21, device=DEVICE) % 4
    column_labels = labels if within else torch.arange(18, device=DEVICE) % 5

    found = ops.pair_statistics(
        contrastive, x, None if within else w, backend="triton", row_labels=labels,
        column_labels=None if within else column_labels, within=within,
    )  # fmt: skip
    scores = torch.nn.functional.normalize(x) @ torch.nn.functional.normalize(w).T
    own = labels[:, None] == column_labels
    penalty = torch.where(own, 1 - scores, (scores - 0.2).clamp_min(0))
    if within:
        penalty = penalty * (1 - torch.eye(21, dtype=torch.float64, device=DEVICE))
    torch.testing.assert_close(found[:, 0], penalty.sum(1))

    leaves = [x] if within else [x, w]
    factor = torch.randn(21, dtype=torch.float64, generator=generator).to(DEVICE)
    ours = torch.autograd.grad(found[:, 0], leaves, factor)
    torch.testing.assert_close(ours, torch.autograd.grad(penalty.sum(1), leaves, factor))
