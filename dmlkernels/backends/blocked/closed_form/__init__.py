"""Quadratic statistics without tiles: their sums over the columns are a vector and a D x D matrix."""

from __future__ import annotations

from torch import Tensor

from dmlkernels.backends.blocked import host
from dmlkernels.backends.blocked.closed_form import moments, square
from dmlkernels.backends.blocked.matching import count_pairs
from dmlkernels.backends.blocked.normalise import Norms
from dmlkernels.backends.pairs import Forward, Gradients, Pairs
from dmlkernels.statistics import IGNORED, Moments, Square

FORMS = {Moments: moments, Square: square}
FLOAT64_COST = 6  # by measurement: about 3 with tiles of the torch backend, 8 with native ones


def supports(pairs: Pairs) -> bool:
    """Whether there is a closed form. That of moments takes float64. Off the CPU positive pairs must be known unseen:
    column j has class j."""
    if type(pairs.statistic) not in FORMS or pairs.within or pairs.column_boundaries:
        return False
    if type(pairs.statistic) is Moments and not host.has_float64(pairs.rows):
        return False
    return pairs.column_labels is None or host.readable(pairs.rows)


def is_cheaper(pairs: Pairs, float64_cost: int = FLOAT64_COST) -> bool:
    """Whether a quadratic statistic is cheaper from D x D matrices than from tiles.

    Multiplications, forward and backward: tiles take B C D to score, as much to score again and 2 B C D for the two
    gradients; the closed form takes C D^2 for the matrix of the columns and C D^2 to bring it back, and 2 B D^2 for
    the rows. The halves of the gradient that may not be needed are counted on both sides. A multiplication in float64
    takes the time of ``float64_cost`` in a tile of float32.
    """
    rows, columns, dim = pairs.num_rows, pairs.num_columns, pairs.dim
    cost = float64_cost if widens(pairs) else 1
    return cost * 2 * (rows + columns) * dim < 4 * rows * columns


def widens(pairs: Pairs) -> bool:
    """Whether the closed form is evaluated in a wider dtype than tiles would be."""
    return type(pairs.statistic) is Moments and pairs.dtype != moments.WIDE


def suits_labels(pairs: Pairs) -> bool:
    """Whether no column is ignored, and the positive pairs, which are gathered, take no more than a few times the
    memory of the inputs."""
    if pairs.row_labels is None or pairs.column_labels is None:
        return True
    if (pairs.column_labels == IGNORED).any():
        return False
    return count_pairs(pairs.row_labels, pairs.column_labels) <= 4 * (pairs.num_rows + pairs.num_columns)


def saved_shape(pairs: Pairs) -> tuple[int, ...]:
    """Shape of what forward saves for backward."""
    return FORMS[type(pairs.statistic)].saved_shape(pairs)


def forward(pairs: Pairs, norms: Norms) -> Forward:
    """Finished statistics of every row; saved are the sums over the columns."""
    return FORMS[type(pairs.statistic)].forward(pairs, norms)


def backward(
    pairs: Pairs, forward: Forward, gradient: Tensor, needs_rows: bool, needs_columns: bool, norms: Norms
) -> Gradients:
    """Gradients of rows and columns from that of the statistics."""
    return FORMS[type(pairs.statistic)].backward(pairs, forward, gradient, needs_rows, needs_columns, norms)
