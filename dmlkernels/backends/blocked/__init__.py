"""The torch backend: blocks of plain tensor operations, on any device, in memory bounded by a block."""

from __future__ import annotations

from torch import Tensor

from dmlkernels.backends.autocast import without_autocast
from dmlkernels.backends.blocked import closed_form, normalise, streaming
from dmlkernels.backends.blocked.engine import Engine
from dmlkernels.backends.pairs import Forward, Gradients, Pairs

TENSORS = Engine(normalise, streaming)


def supports(statistic: str) -> bool:
    """Every statistic: this backend calls its own fold and slope."""
    return True


def saved_shape(pairs: Pairs) -> tuple[int, ...]:
    """Shape of what forward remembers for backward."""
    return closed_form.saved_shape(pairs) if is_closed(pairs) else streaming.saved_shape(pairs)


def forward(pairs: Pairs, engine: Engine = TENSORS) -> Forward:
    """Finished statistics of every row; another ``engine`` may compute the tiles."""
    with without_autocast(pairs.rows.device.type):
        if not is_closed(pairs):
            return engine.tiles.forward(pairs)
        if closed_form.suits_labels(pairs):
            return closed_form.forward(pairs, engine.norms)
        statistics, _ = engine.tiles.forward(pairs)
        return Forward(statistics, statistics.new_zeros(saved_shape(pairs)))


def backward(
    pairs: Pairs,
    forward: Forward,
    gradient: Tensor,
    needs_rows: bool,
    needs_columns: bool,
    engine: Engine = TENSORS,
) -> Gradients:
    """Gradients of rows and columns from that of the statistics."""
    with without_autocast(pairs.rows.device.type):
        if is_closed(pairs) and closed_form.suits_labels(pairs):
            return closed_form.backward(pairs, forward, gradient, needs_rows, needs_columns, engine.norms)
        return engine.tiles.backward(pairs, forward, gradient, needs_rows, needs_columns)


def is_closed(pairs: Pairs) -> bool:
    """Whether these shapes ask for the closed form."""
    return closed_form.supports(pairs) and closed_form.is_cheaper(pairs)
