"""What is measured: a step that can be run forward, or forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

FORWARD, BOTH = "forward", "forward+backward"
MODES = (FORWARD, BOTH)


def _as_stored(gradients: list[Tensor]) -> list[Tensor]:
    return gradients


@dataclass
class Step:
    """One variant on one problem.

    ``leaves`` get their gradients afresh in every backward, as after ``optimizer.zero_grad()``. ``orient`` brings them
    into the layout that all variants are compared in.
    """

    forward: Callable[[], Tensor]
    leaves: list[Tensor] = field(default_factory=list)
    orient: Callable[[list[Tensor]], list[Tensor]] = _as_stored

    def run(self, mode: str) -> Tensor:
        """The loss; in mode "forward" as an evaluation would compute it, without a graph."""
        if mode == FORWARD:
            with torch.no_grad():
                return self.forward()
        self.clear()
        loss = self.forward()
        loss.backward()
        return loss.detach()

    def clear(self) -> None:
        for leaf in self.leaves:
            leaf.grad = None

    def outcome(self, mode: str) -> list[Tensor]:
        """The loss and, in mode "forward+backward", the gradients."""
        loss = self.run(mode)
        if mode == FORWARD:
            return [loss]
        gradients = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in self.leaves]
        self.clear()
        return [loss, *self.orient(gradients)]
