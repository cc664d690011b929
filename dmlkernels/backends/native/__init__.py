"""The compiled CPU engine: the torch backend's blocks, each tile of them computed in one call of C++.

All checks are made on this side: the C++ side trusts the addresses it gets.
"""

from __future__ import annotations

from torch import Tensor

from dmlkernels.backends import blocked
from dmlkernels.backends.blocked import memo_shape
from dmlkernels.backends.blocked.engine import Engine
from dmlkernels.backends.native import norms, whole
from dmlkernels.backends.native.module import preferred, unavailable_reason
from dmlkernels.backends.native.tiles import Fold, Slope
from dmlkernels.backends.pairs import Forward, Gradients, Pairs

__all__ = ["backward", "forward", "memo_shape", "preferred", "unavailable_reason"]

COMPILED = Engine(norms, Fold, Slope)


def forward(pairs: Pairs) -> Forward:
    """Finished statistics of every row."""
    found = whole.forward(pairs) if _is_whole(pairs) else None
    return blocked.forward(pairs, COMPILED) if found is None else found


def backward(pairs: Pairs, forward: Forward, gradient: Tensor, needs_rows: bool, needs_columns: bool) -> Gradients:
    """Gradients of rows and columns from that of the statistics."""
    found = whole.backward(pairs, forward, gradient, needs_rows, needs_columns) if _is_whole(pairs) else None
    return found or blocked.backward(pairs, forward, gradient, needs_rows, needs_columns, COMPILED)


def _is_whole(pairs: Pairs) -> bool:
    return whole.suits(pairs) and not blocked.is_closed(pairs)
