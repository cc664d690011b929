"""What every rank knows before points travel round the ring."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import distributed

from dmlkernels.distributed.pair_blocks import Points
from dmlkernels.distributed.ring import Block, Ring
from dmlkernels.distributed.schedule import PROXIES, SAMPLES, Schedule


@dataclass(frozen=True)
class Plan:
    """The same on every rank of a group, but for the rank in the schedule.

    With ``proxies_travel`` each rank holds its own proxies. Without, every rank holds all of them, and a rank's own are
    those that ``schedule.sizes`` counts, in rank order.
    """

    group: distributed.ProcessGroup
    schedule: Schedule
    backend: str
    proxies_travel: bool
    needs: tuple[bool, ...]  # by kind: whether any rank wants gradients
    scale: float  # what this rank's gradients are multiplied by

    @property
    def kinds(self) -> tuple[int, ...]:
        """Number of points that exist."""
        return (SAMPLES, PROXIES)[: len(self.schedule.sizes[0])]

    @property
    def travelling(self) -> tuple[int, ...]:
        """Kinds that travel."""
        return self.kinds if self.proxies_travel else (SAMPLES,)

    def ring(self, points: list[Points]) -> Ring:
        """Ring through which the blocks that ``pack`` makes travel."""
        shapes = [
            [
                torch.Size(shape)
                for kind in self.travelling
                for shape in ((sizes[kind], points[kind].vectors.shape[1]), (sizes[kind],))
            ]
            for sizes in self.schedule.sizes
        ]
        return Ring(self.group, shapes, [tensor.dtype for kind in self.travelling for tensor in points[kind]])

    def pack(self, points: list[Points]) -> Block:
        """This rank's block: the vectors and labels of each kind that travels."""
        return tuple(tensor.contiguous() for kind in self.travelling for tensor in points[kind])

    def unpack(self, block: Block, points: list[Points], rank: int) -> list[Points]:
        """The points of the rank whose block is here, by kind."""
        found = [Points(*block[2 * i : 2 * i + 2]) for i in range(len(self.travelling))]
        if len(found) < len(self.kinds):
            found.append(points[PROXIES].cut(self.resident_span(rank)))
        return found

    def own(self, points: list[Points]) -> list[Points]:
        """This rank's points, by kind."""
        return self.unpack(self.pack(points), points, self.schedule.rank)

    def resident_span(self, rank: int) -> slice:
        """Where a rank's proxies are among those that every rank holds."""
        start = sum(sizes[PROXIES] for sizes in self.schedule.sizes[:rank])
        return slice(start, start + self.schedule.sizes[rank][PROXIES])
