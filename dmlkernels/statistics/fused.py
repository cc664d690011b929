"""PD-Loss moments, potential field and ODBA penalty folded from the same scores."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

from torch import Tensor

from dmlkernels.statistics.base import State, Statistic, Term
from dmlkernels.statistics.field import Field
from dmlkernels.statistics.moments import Moments
from dmlkernels.statistics.square import Square
from dmlkernels.statistics.tile import Tile

SAMPLES, PROXIES, ATOMS = 0, 1, 2
"""Segments, in the order in which the columns are joined."""

_POINTS = (SAMPLES, PROXIES)


class Fused(Statistic):
    """Columns: the six of Moments (samples against proxies), Field (all points), Square (samples against atoms)."""

    name = "fused"
    joins = (Moments, Field, Square)
    width = Moments.width + Field.width + Square.width
    reads_weights = True
    symmetric = True
    sparse = True

    def __init__(self, alpha: float, delta_att: float, delta_rep: float, d_min: float, unit_depth: float) -> None:
        self._field = Field(alpha, delta_att, delta_rep, d_min, unit_depth)
        # No dict: its keys would be objects, which torch.compile of torch 2.6 does not trace.
        self._segments: tuple[tuple[Statistic, list[tuple[int, int]]], ...] = (
            (Moments(), [(SAMPLES, PROXIES)]),
            (self._field, [(row, column) for row in _POINTS for column in _POINTS]),
            (Square(), [(SAMPLES, ATOMS)]),
        )

    def parameters(self) -> list[float]:
        return self._field.parameters()

    def meets(self, row_segment: int, column_segment: int) -> bool:
        return any((row_segment, column_segment) in segments for _, segments in self._segments)

    def empty(self, num_rows: int, like: Tensor) -> State:
        return sum((term.empty(num_rows, like) for term, _ in self._segments), ())

    def fold(self, tile: Tile) -> State:
        rows = tile.scores.shape[0]
        parts = (
            term.fold(tile) if here else term.empty(rows, tile.scores)
            for term, _, here, _ in self.terms(tile.row_segment, tile.column_segment)
        )
        return sum(parts, ())

    def merge(self, first: State, second: State) -> State:
        return sum((term.merge(first[part], second[part]) for term, part in self._parts()), ())

    def slope(self, tile: Tile, statistics: Tensor, gradient: Tensor) -> Tensor:
        slopes = (
            term.slope(tile, statistics[:, part], gradient[:, part])
            for term, part, here, _ in self.terms(tile.row_segment, tile.column_segment)
            if here
        )
        return reduce(Tensor.add_, slopes)

    def fold_both(self, tile: Tile) -> tuple[State, State]:
        return self._join_both(tile, {})

    def flat_both(self, tile: Tile) -> tuple[State, State] | None:
        if tile.row_segment != tile.column_segment:
            return None  # samples against proxies: the moments' slope is nowhere exactly zero
        flat = self._field.flat_both(tile)
        return None if flat is None else self._join_both(tile, {self._field: flat})

    def slope_both(self, tile: Tile, row_side: tuple[Tensor, Tensor], column_side: tuple[Tensor, Tensor]) -> Tensor:
        slopes = []
        for term, part, here, there in self.terms(tile.row_segment, tile.column_segment):
            rows = (row_side[0][:, part], row_side[1][:, part])
            columns = (column_side[0][:, part], column_side[1][:, part])
            if here and there:
                slopes.append(term.slope_both(tile, rows, columns))
            elif here:
                slopes.append(term.slope(tile, *rows))
            elif there:
                slopes.append(term.slope(tile.mirror(), *columns).mT)
        return reduce(Tensor.add_, slopes)

    def _join_both(self, tile: Tile, known: dict[Statistic, tuple[State, State]]) -> tuple[State, State]:
        """Both ends' states of all terms, those already ``known`` not folded again."""
        num_rows, num_columns = tile.scores.shape
        row_state: State = ()
        column_state: State = ()
        for term, _, here, there in self.terms(tile.row_segment, tile.column_segment):
            if here and there:
                rows, columns = known[term] if term in known else term.fold_both(tile)
            else:
                rows = term.fold(tile) if here else term.empty(num_rows, tile.scores)
                columns = term.fold(tile.mirror()) if there else term.empty(num_columns, tile.scores)
            row_state, column_state = row_state + rows, column_state + columns
        return row_state, column_state

    def _parts(self) -> Iterator[tuple[Statistic, slice]]:
        """Each term with its columns, which are also its places in the state."""
        start = 0
        for term, _ in self._segments:
            yield term, slice(start, start + term.width)
            start += term.width

    def terms(self, row_segment: int, column_segment: int) -> Iterator[Term]:
        segments, mirrored = (row_segment, column_segment), (column_segment, row_segment)
        for (term, part), (_, where) in zip(self._parts(), self._segments, strict=True):
            yield Term(term, part, segments in where, mirrored in where)
