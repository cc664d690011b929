"""Launches of the formulas' kernels forward."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.backends.gpu.splits import cdiv
from dmlkernels.backends.triton.formulas import num_parts, num_states
from dmlkernels.backends.triton.formulas.decidability import decidability_kernel, form_of, joined_parts
from dmlkernels.backends.triton.formulas.rows import MOST_PROGRAMS, ROW_FORMULAS, value_kernel
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
        launch(
            decidability_kernel, (1,),
            statistics, labels, poison, loss, parts, state, num_rows, split_numbers(numbers),
            FORM=form_of(formula), FUSED=joined_parts(formula, numbers), MEAN=mean, WIDTH=width, BLOCK=BLOCK,
        )  # fmt: skip
    return loss, parts, state


def _width(values: Tensor | None) -> int:
    return 0 if values is None else values.shape[1]
