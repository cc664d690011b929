"""Where in a run training stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Position:
    """After ``step`` steps of the epoch numbered ``epoch`` from 0 on."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0  # of those steps
    seconds: float = 0.0  # of training, without evaluation, over all interruptions
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)  # epoch, value and network, of the validation split

    def next_epoch(self) -> None:
        self.epoch, self.step, self.loss_sum = self.epoch + 1, 0, 0.0
