"""What this backend computes norms and tiles with: plain tensors, or compiled code."""

from __future__ import annotations

from typing import NamedTuple

from dmlkernels.backends.blocked.normalise import Norms
from dmlkernels.backends.pairs import Solver


class Engine(NamedTuple):
    """``norms`` for the closed form; ``tiles`` solves what has no closed form."""

    norms: Norms
    tiles: Solver
