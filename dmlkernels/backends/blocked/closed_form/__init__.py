"""Quadratic statistics without tiles: their sums over the columns are a vector and a D x D matrix."""

from __future__ import annotations

from torch import Tensor

from dmlkernels.backends.blocked import host
from dmlkernels.backends.blocked.closed_form import moments, square
from dmlkernels.backends.blocked.matching import count_pairs
from dmlkernels.backends.blocked.normalise import Norms
from dmlkernels.backends.pairs import Forward, Gradients, Pairs
from dmlkernels.statistics import IGNORED, Moments, Square

_FORMS = {Moments: moments, Square: square}


def supports(pairs: Pairs) -> bool:
    """Whether there is a closed form. That of moments takes float64. Off the CPU positive pairs must be known unseen:
    column j has class j."""
    if type(pairs.statistic) not in _FORMS or pairs.within or pairs.column_boundaries:
        return False
    if type(pairs.statistic) is Moments and not host.has_float64(pairs.rows):
        return False
    return pairs.column_labels is None or host.readable(pairs.rows)


def suits_labels(pairs: Pairs) -> bool:
    """Whether no column is ignored, and the positive pairs, which are gathered, take no more than a few times the
    memory of the inputs."""
    if pairs.row_labels is None or pairs.column_labels is None:
        return True
    if (pairs.column_labels == IGNORED).any():
        return False
    return count_pairs(pairs.row_labels, pairs.column_labels) <= 4 * (pairs.num_rows + pairs.num_columns)


def saved_shape(pairs: Pairs) -> tuple[int, ...]:
    """Of what forward keeps for backward."""
    return _FORMS[type(pairs.statistic)].saved_shape(pairs)


def forward(pairs: Pairs, norms: Norms) -> Forward:
    """Finished statistics of every row; saved are the sums over the columns."""
    return _FORMS[type(pairs.statistic)].forward(pairs, norms)


def backward(
    pairs: Pairs, forward: Forward, gradient: Tensor, needs_rows: bool, needs_columns: bool, norms: Norms
) -> Gradients:
    """Gradients of rows and columns from that of the statistics."""
    return _FORMS[type(pairs.statistic)].backward(pairs, forward, gradient, needs_rows, needs_columns, norms)
