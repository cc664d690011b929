"""What a statistic is to the kernels: three device functions and a few numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dmlkernels.statistics import Statistic


def no_numbers(statistic: Any) -> Sequence[float]:
    return ()


@dataclass(frozen=True)
class Epilogue:
    """Device functions of a tile of scores, and the host's part of them.

    Attributes:
        fold: ``(scores, own, other, weight, cell, hyper) -> state``. Scores are (rows, columns); ``own`` and ``other``
            mask the same-class and the different-class pairs that count; ``weight`` is a tuple of the columns' numbers;
            ``cell`` the segments of rows and columns and the columns to a label; ``hyper`` is read with ``number``. The
            state is a tuple of vectors, one for each column that ``finish`` gives.
        merge: ``(state, state) -> state``.
        slope: ``(scores, own, other, values, weight, cell, hyper, AXIS) -> slope`` of the scores, whichever way round
            the tile lies: columns are along AXIS and everything else broadcasts. Zero where neither mask holds.
        empty: the neutral state.
        num_values: length of what ``values`` gives.
        values: ``(statistic, statistics, gradient) ->`` the vectors, one number a row, that ``slope`` reads.
        hyper: the statistic's numbers for ``fold`` and ``slope``.
        weighted: whether columns carry a weight.
        has_grad: ``(scores, own, other, cell, hyper) -> mask`` of the pairs whose slope from either end may be
            non-zero; None if that is most. Backward skips tiles without any.
        live_tiles: 1, or 2 or 4 if ``fold`` and ``slope`` keep so many times the registers of a plain one busy; tiles
            are the smaller for it.
        exact_scores: whether scores need float32 precision whatever the matmul precision.
        same_scores: whether ``slope`` needs scores that are, to the last bit, those that ``fold`` saw.
    """

    fold: Any
    merge: Any
    slope: Any
    empty: tuple[float, ...]
    num_values: int
    values: Callable[[Any, Tensor, Tensor], Sequence[Tensor]]
    hyper: Callable[[Any], Sequence[float]] = no_numbers
    weighted: bool = False
    has_grad: Any = None
    exact_scores: bool = False
    same_scores: bool = False
    live_tiles: int = 1


_EPILOGUES: dict[type[Statistic], Epilogue] = {}


def register(statistic: type[Statistic], epilogue: Epilogue) -> None:
    """Give a statistic its device functions."""
    _EPILOGUES[statistic] = epilogue


def has_epilogue(statistic: type[Statistic]) -> bool:
    """Whether the kernels can compute a statistic."""
    return statistic in _EPILOGUES


def epilogue_of(statistic: Statistic) -> Epilogue:
    return _EPILOGUES[type(statistic)]
