"""Gradients that follow their blocks round the ring, and return to their ranks at its end."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.distributed.pair_blocks import Points
from dmlkernels.distributed.plan import Plan
from dmlkernels.distributed.ring import Posted, Ring
from dmlkernels.distributed.schedule import PROXIES, Side


class GradientRing:
    """The gradients of the own points, and those of the block that is here.

    What the ranks before have added to a block's gradient comes in while this rank computes its part, and what it
    passed on before goes out: three gradients of the size of a block. Proxies that every rank holds need none of this.
    Each rank keeps what it finds, since the mean over the ranks is to be the gradient.
    """

    def __init__(self, plan: Plan, ring: Ring, points: list[Points]) -> None:
        self._plan, self._ring, self._points = plan, ring, points
        self._travelling = [kind for kind in plan.travelling if plan.needs[kind]]
        self._own = self._zeros(ring.rank)
        self._resident: Tensor | None = None
        if not plan.proxies_travel and len(plan.kinds) > PROXIES and plan.needs[PROXIES]:
            self._resident = self._new(PROXIES, points[PROXIES].vectors.shape[0])
        self._theirs: list[Tensor] = []
        self._incoming: Posted | None = None

    def begin(self, step: int) -> None:
        """Before a step's gradients are computed: let those of the step before go on."""
        if step == 0:
            return
        source = self._ring.source(step)
        if step > 1:
            self._incoming = self._ring.post(
                tuple(self._theirs), tuple(self._zeros(source)), self._ring.rank + 1, self._ring.rank - 1
            )
        self._theirs = self._zeros(source)

    def add(self, step: int, side: Side, gradient: Tensor) -> None:
        """Add to the gradient of some of the points."""
        if self._resident is not None and side.kind == PROXIES:
            rank = self._ring.source(step) if side.remote else self._ring.rank
            target = self._resident[self._plan.resident_span(rank)]
        else:
            target = (self._theirs if side.remote else self._own)[self._travelling.index(side.kind)]
        target[side.span] += gradient

    def end(self) -> None:
        """After a step: join what came in."""
        if self._incoming is not None:
            _add(self._theirs, self._incoming)
            self._incoming = None

    def finish(self) -> list[Tensor | None]:
        """Return the gradients to their ranks; by kind, scaled, and in the dtype of the points."""
        steps, rank = self._ring.steps, self._ring.rank
        if steps:
            _add(self._own, self._ring.post(tuple(self._theirs), tuple(self._zeros(rank)), rank - steps, rank + steps))
        found: list[Tensor | None] = []
        for kind in self._plan.kinds:
            gradient = self._own[self._travelling.index(kind)] if kind in self._travelling else self._resident
            if gradient is None or not self._plan.needs[kind]:
                found.append(None)
            else:
                found.append(gradient.mul_(self._plan.scale).to(self._points[kind].vectors.dtype))
        return found

    def _zeros(self, rank: int) -> list[Tensor]:
        """Zero gradients for the travelling points of a rank."""
        return [self._new(kind, self._plan.schedule.sizes[rank][kind]) for kind in self._travelling]

    def _new(self, kind: int, size: int) -> Tensor:
        like = self._points[kind].vectors
        return like.new_zeros(size, like.shape[1], dtype=torch.promote_types(like.dtype, torch.float32))


def _add(gradients: list[Tensor], posted: Posted) -> None:
    for gradient, arrived in zip(gradients, posted.wait(), strict=True):
        gradient += arrived
