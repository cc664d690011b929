"""Potential-field energy of each point (PFML)."""

from __future__ import annotations

import math

from torch import Tensor

from dmlkernels.statistics.base import State, Statistic
from dmlkernels.statistics.tile import Tile


class Field(Statistic):
    """One column: the sum of psi(d) over the other points, with d^2 = 2 - 2s.

    Both potentials are +-(clamp(d, low, high) / unit)^-alpha, a single power of a clamped distance, so no branch is
    computed only to be thrown away. The unit is the radius of the potential with ``unit_depth``, else 1. It divides the
    distance before the power is taken: delta^alpha and d^-alpha apart leave the range of float32 where their product is
    of order 1. Only a pair whose energy is beyond that range makes the sum infinite.
    """

    name = "field"
    width = 1
    symmetric = True

    def __init__(self, alpha: float, delta_att: float, delta_rep: float, d_min: float, unit_depth: float) -> None:
        self.alpha, self.delta_att, self.delta_rep, self.d_min = alpha, delta_att, delta_rep, d_min
        self.unit_depth = bool(unit_depth)
        # Of squared distances: 1 / unit^2.
        self.well_scale = delta_att**-2 if unit_depth else 1.0
        self.hill_scale = delta_rep**-2 if unit_depth else 1.0
        # Squared distances, where each potential stops being flat.
        self.wells = max(delta_att, d_min) ** 2, math.inf
        self.hills = min(d_min, delta_rep) ** 2, delta_rep**2

    def parameters(self) -> list[float]:
        return [self.alpha, self.delta_att, self.delta_rep, self.d_min, float(self.unit_depth)]

    @property
    def rest(self) -> float:
        """Energy of a different-class pair that does not act: further apart than ``delta_rep``."""
        try:
            return 1.0 if self.unit_depth else self.delta_rep**-self.alpha
        except OverflowError:
            return math.inf

    def empty(self, num_rows: int, like: Tensor) -> State:
        return (like.new_zeros(num_rows),)

    def fold(self, tile: Tile) -> State:
        return (self._energies(tile).sum(1),)

    def fold_both(self, tile: Tile) -> tuple[State, State]:
        energies = self._energies(tile)
        return (energies.sum(1),), (energies.sum(0),)

    def merge(self, first: State, second: State) -> State:
        return (first[0] + second[0],)

    def slope(self, tile: Tile, statistics: Tensor, gradient: Tensor) -> Tensor:
        return self._slopes(tile).mul_(gradient)

    def slope_both(self, tile: Tile, row_side: tuple[Tensor, Tensor], column_side: tuple[Tensor, Tensor]) -> Tensor:
        return self._slopes(tile).mul_(row_side[1] + column_side[1].mT)

    sparse = True

    def flat_both(self, tile: Tile) -> tuple[State, State] | None:
        _, not_negatives = tile.label_pairs
        # A NaN score fails the comparison and takes the general path, which passes it on.
        if not_negatives.any() or not squared_distance(tile.scores.amax()) >= self.hills[1]:
            return None
        rows, columns = tile.scores.shape
        full = tile.scores.new_full
        return (full((rows,), columns * self.rest),), (full((columns,), rows * self.rest),)

    def _energies(self, tile: Tile) -> Tensor:
        positives, not_negatives = tile.label_pairs
        distance = squared_distance(tile.scores)
        attraction = positives.gather(distance).clamp(*self.wells).mul_(self.well_scale).pow_(-self.alpha / 2).neg_()
        energies = distance.clamp_(*self.hills).mul_(self.hill_scale).pow_(-self.alpha / 2)
        not_negatives.fill_(energies, 0.0)
        positives.scatter_(energies, attraction)
        return energies

    def _slopes(self, tile: Tile) -> Tensor:
        positives, not_negatives = tile.label_pairs
        distance = squared_distance(tile.scores)
        attraction = self._slope(positives.gather(distance), self.wells, self.well_scale).neg_()
        slopes = self._slope(distance, self.hills, self.hill_scale)
        not_negatives.fill_(slopes, 0.0)
        positives.scatter_(slopes, attraction)
        return slopes

    def _slope(self, distance: Tensor, bounds: tuple[float, float], scale: float) -> Tensor:
        """d psi / ds of a hill: alpha scale (scale d^2)^(-alpha / 2 - 1), as d(d^2)/ds = -2. Zero where it is flat."""
        low, high = bounds
        flat = (distance <= low) | (distance >= high)  # False for NaN, which passes
        slope = distance.clamp(low, high).mul_(scale).pow_(-self.alpha / 2 - 1).mul_(self.alpha * scale)
        return slope.masked_fill_(flat, 0.0)


def squared_distance(scores: Tensor) -> Tensor:
    """Squared L2 distance of normalised points."""
    return 2 - 2 * scores
