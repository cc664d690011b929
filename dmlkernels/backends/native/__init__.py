"""The compiled engines. On a CPU: each pass in one call of C++, or the torch backend's closed form. For CUDA tensors:
``dmlkernels.backends.native.cuda``.

All checks are made on this side: the C++ side trusts the addresses it gets.
"""

from __future__ import annotations

from torch import Tensor

from dmlkernels.backends import blocked
from dmlkernels.backends.blocked.engine import Engine
from dmlkernels.backends.native import cuda, engine, module, norms
from dmlkernels.backends.native.module import preferred, warn_if_missing
from dmlkernels.backends.pairs import Forward, Gradients, Pairs
from dmlkernels.statistics import CATALOGUE

__all__ = ["backward", "forward", "preferred", "saved_shape", "supports", "unavailable_reason", "warn_if_missing"]

COMPILED = Engine(norms, engine)


def unavailable_reason(device_type: str | None = None) -> str | None:
    """Why neither engine can run on this kind of device, or None when one can; without one, on any of here."""
    if device_type == "cuda":
        return cuda.unavailable_reason()
    reason = module.unavailable_reason(device_type)
    return None if device_type is None and cuda.unavailable_reason() is None else reason


def supports(statistic: str) -> bool:
    """Whether the engines were compiled with the statistic of this name."""
    joint = CATALOGUE[statistic]
    compiled = (module if module.reason is None else cuda.module).compiled
    return all(hasattr(compiled.Kind, part.name) for part in joint.joins or (joint,))


def saved_shape(pairs: Pairs) -> tuple[int, ...]:
    """Shape of what forward keeps for backward."""
    return cuda.saved_shape(pairs) if cuda.serves(pairs.rows.device) else blocked.saved_shape(pairs)


def forward(pairs: Pairs) -> Forward:
    """Finished statistics of every row."""
    if cuda.serves(pairs.rows.device):
        return cuda.forward(pairs)
    return blocked.forward(pairs, COMPILED)


def backward(pairs: Pairs, forward: Forward, gradient: Tensor, needs_rows: bool, needs_columns: bool) -> Gradients:
    """Gradients of rows and columns from that of the statistics."""
    if cuda.serves(pairs.rows.device):
        return cuda.backward(pairs, forward, gradient, needs_rows, needs_columns)
    return blocked.backward(pairs, forward, gradient, needs_rows, needs_columns, COMPILED)
