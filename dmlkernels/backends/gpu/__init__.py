"""What the two GPU engines share: what replaces their kernels and when, and what they run under."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from dmlkernels.backends import blocked
from dmlkernels.backends.autocast import is_under_autocast, without_autocast
from dmlkernels.backends.gpu import closed
from dmlkernels.backends.pairs import Pairs, Solver
from dmlkernels.statistics import Moments

__all__ = ["on_device", "solver"]


def solver(pairs: Pairs, kernels: Solver, fits: bool, closed_moments: Solver = closed) -> Solver:
    """Who computes these pairs: the kernels; the closed form where it is cheaper, of moments an engine's own if it has
    one; the torch backend if a tile of the kernels does not hold all columns of a label."""
    if not fits:
        return blocked
    if not closed.applies(pairs):
        return kernels
    return closed_moments if isinstance(pairs.statistic, Moments) else closed


_HERE = nullcontext()


def on_device(device: torch.device) -> AbstractContextManager[None]:
    """Run on this device without autocast, which would round statistics."""
    if is_under_autocast(device.type) or (device.type == "cuda" and device.index != torch.cuda.current_device()):
        return _moved_to(device)
    return _HERE  # what most steps have: the contexts take longer than a launch


@contextmanager
def _moved_to(device: torch.device) -> Iterator[None]:
    current: AbstractContextManager[None] = torch.cuda.device(device) if device.type == "cuda" else nullcontext()
    with current, without_autocast(device.type):
        yield
