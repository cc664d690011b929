"""What the memory probe is asked to measure in the tests."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def allocate(mebibytes: int) -> Callable[[], object]:
    return lambda: torch.ones(mebibytes * 2**18)  # float32, every page written


def allocate_beside(mebibytes: int, inputs: int) -> Callable[[], object]:
    """The inputs are there before the measured call."""
    kept = torch.ones(inputs * 2**18)
    return lambda: (kept, torch.ones(mebibytes * 2**18))


def allocate_twice_in_turn(mebibytes: int) -> Callable[[], object]:
    """What is freed before the next allocation counts once."""

    def run() -> None:
        for _ in range(2):
            torch.ones(mebibytes * 2**18)

    return run


def allocate_until_killed() -> Callable[[], object]:
    def run() -> None:
        kept = []
        while True:
            kept.append(torch.ones(2**22))
            time.sleep(0.005)

    return run


def fail() -> Callable[[], object]:
    def run() -> None:
        raise ValueError("what went wrong")

    return run
