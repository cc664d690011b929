"""Operations that a loss cannot do without, and those that our way of computing it takes."""

from __future__ import annotations

from benchmarks.harness.steps import FORWARD
from benchmarks.problems.shapes import ATOMS, Shape

_ROWS_ONLY = {"odba", "symmetric_kl"}  # no gradient of proxies or atoms
_CLOSED = {"pd", "odba"}


def pairs(loss: str, shape: Shape) -> int:
    """Scores that the definition names, each unordered pair of points once."""
    points = shape.batch + shape.proxies
    if loss == "decidability":
        return shape.batch * (shape.batch - 1) // 2
    if loss == "field":
        return points * (points - 1) // 2
    if loss == "fused":
        return points * (points - 1) // 2 + shape.batch * ATOMS
    if loss == "odba":
        return shape.batch * ATOMS
    return shape.batch * shape.proxies * (2 if loss == "symmetric_kl" else 1)


def exact(loss: str, shape: Shape, mode: str) -> int:
    """2 B C D forward, 6 B C D forward and backward: one product for the scores, one for each gradient."""
    products = 1 if mode == FORWARD else 2 if loss in _ROWS_ONLY else 3
    return 2 * products * pairs(loss, shape) * shape.dim


def executed(loss: str, shape: Shape, mode: str, recomputations: int) -> int:
    """With the scores computed again in backward: 8 B C D for one recomputation, 10 for two. In closed form
    4 (B + C) D^2 forward and backward, whatever B C is."""
    columns = ATOMS if loss == "odba" else shape.proxies
    dim = shape.dim
    if loss in _CLOSED and (shape.batch + columns) * dim < 2 * shape.batch * columns:
        forward = 2 * (columns + shape.batch) * dim**2
        return forward if mode == FORWARD else forward + 2 * (columns * (loss == "pd") + 2 * shape.batch) * dim**2
    again = 0 if mode == FORWARD else 2 * recomputations * pairs(loss, shape) * dim
    return exact(loss, shape, mode) + again
