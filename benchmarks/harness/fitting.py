"""Fits that turn measurements into growth laws."""

from __future__ import annotations

import math
from collections.abc import Sequence


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """k of the least-squares fit values = a sizes^k; NaN without two positive points."""
    points = [(math.log(s), math.log(v)) for s, v in zip(sizes, values, strict=True) if s > 0 and v > 0]
    if len({x for x, _ in points}) < 2:
        return math.nan
    slope, _ = _line(points)
    return slope


def linear(sizes: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """(slope, intercept) of values = slope sizes + intercept."""
    return _line(list(zip(sizes, values, strict=True)))


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    return slope, mean_y - slope * mean_x
