"""Which blocks of points are paired at which step of the ring: every unordered pair of points on one rank only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from dmlkernels.statistics import Statistic

SAMPLES, PROXIES = 0, 1
"""The kinds of points."""


class Side(NamedTuple):
    """A run of the points of one kind, of this rank or of the one whose block is here."""

    remote: bool
    kind: int
    span: slice


class Entry(NamedTuple):
    """Points that are paired; without columns, the rows among themselves."""

    statistic: Statistic
    rows: Side
    columns: Side | None = None


@dataclass(frozen=True)
class Schedule:
    """The pair blocks of one rank.

    ``sizes[r][kind]`` counts the points of rank r. ``statistics[kind, other]``, with kind <= other, is what is folded
    from the pairs of two kinds, which need not be there.
    """

    rank: int
    sizes: tuple[tuple[int, ...], ...]
    statistics: dict[tuple[int, int], Statistic]

    def at(self, step: int) -> Iterator[Entry]:
        """What to do with the block that is here after so many steps."""
        kinds = range(len(self.sizes[0]))
        if step == 0:
            mine = [Side(False, kind, self._span(self.rank, kind)) for kind in kinds]
            for (kind, other), statistic in self.statistics.items():
                yield Entry(statistic, mine[kind], None if kind == other else mine[other])
            return
        source = (self.rank - step) % len(self.sizes)
        own, theirs = (
            [Side(rank == source, kind, self._span(rank, kind, self._split(rank, source, step))) for kind in kinds]
            for rank in (self.rank, source)
        )
        for (kind, other), statistic in self.statistics.items():
            yield Entry(statistic, own[kind], theirs[other])
            if kind != other:
                yield Entry(statistic, theirs[kind], own[other])

    def _split(self, rank: int, source: int, step: int) -> int | None:
        """At the last step of an even ring two ranks hold each other's block: of the lower rank's points, that rank
        pairs the first half and the other rank the second. None where points are not split."""
        if 2 * step != len(self.sizes) or rank != min(self.rank, source):
            return None
        return 0 if rank == self.rank else 1

    def _span(self, rank: int, kind: int, half: int | None = None) -> slice:
        size = self.sizes[rank][kind]
        middle = (size + 1) // 2
        return slice(middle if half == 1 else 0, middle if half == 0 else size)
