"""Launches of the formulas' kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.backends.gpu.splits import cdiv
from dmlkernels.backends.triton.formulas import empty_gradient, num_parts, num_states
from dmlkernels.backends.triton.formulas.decidability import (
    ODBA_WEIGHT,
    SAMPLES,
    decidability_kernel,
    decidability_slope_kernel,
)
from dmlkernels.backends.triton.formulas.rows import MOST_PROGRAMS, ROW_FORMULAS, slope_kernel, value_kernel
from dmlkernels.backends.triton.launcher import launch
from dmlkernels.backends.triton.layout import split_numbers

BLOCK = 1024  # rows at a time
MOST_ROWS = 32 * BLOCK  # of one program. Proxy-Anchor has a row for every proxy
ROWS_OF_PROGRAM = 4 * BLOCK  # where they are shared out


def forward(
    formula: str,
    numbers: tuple[float, ...],
    statistics: Tensor,
    values: Tensor | None,
    added: Tensor | None,
    labels: Tensor | None,
    weight: Tensor | None,
    poison: Tensor | None,
    mean: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, its parts, and what backward needs."""
    loss, parts = statistics.new_empty(()), statistics.new_empty(num_parts(formula))
    state = statistics.new_empty(num_states(formula), dtype=torch.float64)
    num_rows, width = statistics.shape
    if formula in ROW_FORMULAS:
        functions = ROW_FORMULAS[formula]
        programs = 1
        if functions.costs and num_rows > MOST_ROWS:
            programs = min(MOST_PROGRAMS.value, cdiv(num_rows, ROWS_OF_PROGRAM))
        # What each finds of each term, and behind it a counter of programs.
        parts_found = None if programs == 1 else state.new_zeros(2 * functions.terms * MOST_PROGRAMS.value + 1)
        launch(
            value_kernel, (programs,),
            statistics, values, added, labels, weight, poison, loss, state, parts_found,
            num_rows, 0 if added is None else added.numel(), split_numbers(numbers),
            VALUE=functions.value, TERMS=functions.terms, MEAN=mean, READ=functions.read_of(width), WIDTH=width,
            GIVEN=_width(values), BLOCK=BLOCK,
        )  # fmt: skip
    else:
        assert added is None, "nothing is added to a formula of moments"
        form, joined = _decidability(formula, numbers)
        launch(
            decidability_kernel, (1,),
            statistics, labels, poison, loss, parts, state, num_rows, split_numbers(numbers),
            FORM=form, FUSED=joined, MEAN=mean, WIDTH=width, BLOCK=BLOCK,
        )  # fmt: skip
    return loss, parts, state


def backward(
    formula: str,
    numbers: tuple[float, ...],
    statistics: Tensor,
    values: Tensor | None,
    labels: Tensor | None,
    weight: Tensor | None,
    state: Tensor,
    gradient: Tensor,
    mean: bool,
    needs_values: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of statistics and values from that of the loss."""
    out, of_values = statistics.new_empty(statistics.shape), empty_gradient(statistics, values, needs_values)
    num_rows, width = statistics.shape
    grid = (cdiv(num_rows, BLOCK),)
    if formula in ROW_FORMULAS:
        functions = ROW_FORMULAS[formula]
        launch(
            slope_kernel, grid,
            statistics, values, labels, weight, state, gradient, out, of_values if needs_values else None, num_rows,
            split_numbers(numbers), SLOPE=functions.slope, TERM=functions.term_of(width + _width(values)),
            READ=functions.read_of(width), WIDTH=width, GIVEN=_width(values), BLOCK=BLOCK,
        )  # fmt: skip
    else:
        _, joined = _decidability(formula, numbers)
        samples = int(numbers[SAMPLES.value]) if joined else 0
        launch(
            decidability_slope_kernel, grid,
            statistics, state, gradient, out, num_rows, samples, FUSED=joined, WIDTH=width, BLOCK=BLOCK,
        )  # fmt: skip
    return out, of_values


def _width(values: Tensor | None) -> int:
    return 0 if values is None else values.shape[1]


def _decidability(formula: str, numbers: tuple[float, ...]) -> tuple[str, int]:
    """The form, and which parts the joint objective has, a bit each; 0 if it is decidability alone."""
    kind, _, form = formula.partition("_")
    if kind == "decidability":
        return form, 0
    return form, 2 + (form != "") + 4 * (numbers[ODBA_WEIGHT.value] != 0)
