"""What a statistic is to the kernels: a few device functions and numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dmlkernels.statistics import Statistic


def no_numbers(statistic: Any) -> Sequence[float]:
    return ()


@dataclass(frozen=True)
class Epilogue:
    """Device functions of a tile of scores, and the host's part of them.

    ``scores`` are (rows, columns); ``factor`` has one number for each row and broadcasts. ``scores * factor`` are the
    cosines: a factor can often be taken into one that is there. ``masks`` is ``()`` in a plain tile, where every pair
    counts and none is positive; else the masks of positives and negatives, which are both all pairs for a statistic
    without labels. ``values`` and ``weight`` are tuples of the rows' and of the columns' values, which broadcast.
    ``segments`` are those of rows and columns, numbers in a plain tile and else vectors that broadcast, and the columns
    to a label. ``hyper`` is read with ``number``.

    Attributes:
        fold: ``(state, scores, factor, masks, values, weight, segments, hyper) -> (state, has_grad)``. Takes a tile
            into the rows' state, a tuple of vectors. ``has_grad`` says of a sparse statistic whether any slope of the
            tile may be non-zero, from either end: backward skips the others. Of another statistic it is 0.
        mask: ``(state, scores, factor, masks, values, weight, segments, hyper) -> (state, scores)``. Takes what is not
            plain out of a tile, and leaves a plain one to ``fold``, which then sees no masks: less code, and fewer
            registers. None if ``fold`` masks.
        mask_one: ``mask`` where column j has class j: ``masks`` are those of ``masks_of_one``. None if ``mask`` does.
        finish: ``(state, hyper) ->`` the rows' statistics, likewise a tuple; None if they are the state.
        merge: ``(statistics, statistics) -> statistics`` of disjoint columns.
        ready: ``(state, row segments) -> mask`` of the rows whose state allows a plain tile; None if all do.
        slope: ``(scores, factor, masks, values, weight, segments, hyper) -> slope`` with respect to the cosines. Zero
            where neither mask holds, zero and finite where a row's values all are zeros. Among points it is called for
            either end of a pair: values may lie along the columns, and a weight along the rows.
        empty, neutral: state and statistics of no columns; neutral is None if they are the same.
        values: ``(statistics, gradient, hyper) ->`` what ``slope`` reads of a row. Each is a tuple of vectors, one for
            each of its statistics; of two views, the second's values follow the first's.
        bound: ``(values of a row, hyper) ->`` what no slope of the row exceeds by much, in size; None if none is known.
        num_values: their number. A row's values that the caller gave come before them; ``fold`` reads only these.
        num_plain: how many of them, the first, are read in plain tiles.
        hyper: the statistic's numbers for ``fold``, ``finish`` and ``slope``.
        weighted: whether columns carry a weight.
        segmented: whether ``segments`` are looked at; plain tiles then lie in one segment of rows and of columns.
        live_tiles: 1, or 2 to 4 if ``fold`` and ``slope`` keep so many times the registers of a plain one busy; tiles
            are the smaller for it.
        exact_scores: whether scores need float32 precision whatever the matmul precision.
        same_scores: whether ``slope`` needs scores that are, to the last bit, those that ``fold`` saw: both must then
            form them with ``cosines``.
    """

    fold: Any
    merge: Any
    slope: Any
    empty: tuple[float, ...]
    num_values: int
    values: Any
    bound: Any = None
    num_plain: int | None = None
    mask: Any = None
    mask_one: Any = None
    finish: Any = None
    neutral: tuple[float, ...] | None = None
    ready: Any = None
    hyper: Callable[[Any], Sequence[float]] = no_numbers
    weighted: bool = False
    segmented: bool = False
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
