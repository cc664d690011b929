"""Weighted sum of each row's squared scores (ODBA)."""

from __future__ import annotations

from torch import Tensor

from dmlkernels.statistics.base import State, Statistic
from dmlkernels.statistics.tile import Tile


class Square(Statistic):
    """One column: sum over columns k of weight_k s_k^2."""

    name = "square"
    width = 1
    reads_labels = False
    reads_weights = True

    def empty(self, num_rows: int, like: Tensor) -> State:
        return (like.new_zeros(num_rows),)

    def fold(self, tile: Tile) -> State:
        return (tile.scores.square() @ _weights(tile),)

    def merge(self, first: State, second: State) -> State:
        return (first[0] + second[0],)

    def slope(self, tile: Tile, statistics: Tensor, gradient: Tensor) -> Tensor:
        return (tile.scores * _weights(tile)).mul_(2 * gradient)


def _weights(tile: Tile) -> Tensor:
    assert tile.weights is not None, "this statistic reads weights"
    return tile.weights
