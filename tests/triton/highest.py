"""A statistic whose gradient tells whether a score is the same to the last bit whoever owns its tile: each row's
highest score has the slope 1, and backward knows it by its value alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import triton
import triton.language as tl
from torch import Tensor

from dmlkernels.backends.triton.epilogues import Epilogue, base, register
from dmlkernels.backends.triton.epilogues.common import cosines
from dmlkernels.statistics import Statistic, Tile
from dmlkernels.statistics.base import State


class Highest(Statistic):
    """One column: a row's highest score."""

    name = "toy_highest"
    width = 1
    reads_labels = False

    def empty(self, num_rows: int, like: Tensor) -> State:
        raise NotImplementedError("only the kernels run in this test")

    def fold(self, tile: Tile) -> State:
        raise NotImplementedError

    def merge(self, first: State, second: State) -> State:
        raise NotImplementedError

    def slope(self, tile: Tile, statistics: Tensor, gradient: Tensor) -> Tensor:
        raise NotImplementedError


@triton.jit
def fold_highest(state, scores, factor, masks, values, weight, segments, hyper):  # noqa: ANN001, ANN201
    scores = cosines(scores, factor)
    if len(masks) > 0:
        scores = tl.where(masks[1], scores, float("-inf"))
    return (tl.maximum(state[0], tl.max(scores, 1)),), 0


@triton.jit
def merge_highest(a, b):  # noqa: ANN001, ANN201
    return (tl.maximum(a[0], b[0]),)


@triton.jit
def slope_highest(scores, factor, masks, values, weight, segments, hyper):  # noqa: ANN001, ANN201
    slope = tl.where(cosines(scores, factor) == values[0], 1.0, 0.0)
    return slope if len(masks) == 0 else tl.where(masks[1], slope, 0.0)


@triton.jit
def highest_values(statistics, gradient, hyper):  # noqa: ANN001, ANN201
    return (statistics[0],)


@contextmanager
def highest_statistic() -> Iterator[Highest]:
    """The kernels have it within the block."""
    epilogue = Epilogue(
        fold_highest, merge_highest, slope_highest, empty=(float("-inf"),), num_values=1, values=highest_values,
        same_scores=True,
    )  # fmt: skip
    register(Highest, epilogue)
    try:
        yield Highest()
    finally:
        del base._EPILOGUES[Highest]
