"""The compiled engines. On a CPU: the torch backend's blocks, each tile of them computed in one call of C++. For CUDA
tensors: ``dmlkernels.backends.native.cuda``.

All checks are made on this side: the C++ side trusts the addresses it gets.
"""

from __future__ import annotations

from torch import Tensor

from dmlkernels.backends import blocked
from dmlkernels.backends.blocked.engine import Engine
from dmlkernels.backends.native import cuda, module, norms, whole
from dmlkernels.backends.native.module import preferred, warn_if_missing
from dmlkernels.backends.native.tiles import Fold, Slope
from dmlkernels.backends.pairs import Forward, Gradients, Pairs
from dmlkernels.statistics import CATALOGUE

__all__ = ["backward", "forward", "preferred", "saved_shape", "supports", "unavailable_reason", "warn_if_missing"]

COMPILED = Engine(norms, Fold, Slope)


def unavailable_reason(device_type: str | None = None) -> str | None:
    """Why neither engine can run on this kind of device, or None when one can; without one, on any of here."""
    if device_type == "cuda":
        return cuda.unavailable_reason()
    reason = module.unavailable_reason(device_type)
    return None if device_type is None and cuda.unavailable_reason() is None else reason


def supports(statistic: str) -> bool:
    """Whether the engines were compiled with the statistic of this name."""
    joint = CATALOGUE[statistic]
    engine = module if module.reason is None else cuda.module
    return all(hasattr(engine.compiled.Kind, part.name) for part in joint.joins or (joint,))


def saved_shape(pairs: Pairs) -> tuple[int, ...]:
    """Shape of what forward keeps for backward."""
    return cuda.saved_shape(pairs) if cuda.serves(pairs.rows.device) else blocked.saved_shape(pairs)


def forward(pairs: Pairs) -> Forward:
    """Finished statistics of every row."""
    if cuda.serves(pairs.rows.device):
        return cuda.forward(pairs)
    found = whole.forward(pairs) if _is_whole(pairs) else None
    return blocked.forward(pairs, COMPILED) if found is None else found


def backward(pairs: Pairs, forward: Forward, gradient: Tensor, needs_rows: bool, needs_columns: bool) -> Gradients:
    """Gradients of rows and columns from that of the statistics."""
    if cuda.serves(pairs.rows.device):
        return cuda.backward(pairs, forward, gradient, needs_rows, needs_columns)
    found = whole.backward(pairs, forward, gradient, needs_rows, needs_columns) if _is_whole(pairs) else None
    return found or blocked.backward(pairs, forward, gradient, needs_rows, needs_columns, COMPILED)


def _is_whole(pairs: Pairs) -> bool:
    return whole.suits(pairs) and not blocked.is_closed(pairs)
