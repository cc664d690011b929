"""The gradient of statistics from that of a loss: a launch of its own, or a part of the launch that reads it.

SLOPES is the device function of a kind of formulas: it makes the gradient of a row's statistics, and behind it of what
is given of the row, from the statistics and ``formula_p``: values given, labels, weights, and what forward kept.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from torch import Tensor

from dmlkernels.backends.formulas import LossGradient, kind_of
from dmlkernels.backends.gpu.splits import cdiv
from dmlkernels.backends.triton.formulas.decidability import decidability_slopes, joined_parts
from dmlkernels.backends.triton.formulas.rows import ROW_FORMULAS, RowForm, row_slopes
from dmlkernels.backends.triton.kernels.scalars import split_numbers
from dmlkernels.backends.triton.kernels.values import slope_kernel
from dmlkernels.backends.triton.launcher import Constants, constants_of, launch
from dmlkernels.backends.triton.plan import REMEMBERED

_BLOCK = 1024


class Slopes(NamedTuple):
    """What kernels take of a formula."""

    gradient: Tensor  # of the loss, or of statistics
    formula: tuple[Tensor | None, ...]
    of_values: Tensor | None  # memory of their gradient
    numbers: tuple[float, ...]
    constants: Constants


_NO_FORMULA = constants_of({"SLOPES": None, "SLOPE": None, "FORM": None})


def slopes_of(loss: Tensor | LossGradient, width: int) -> Slopes:
    """For so many statistics of a row, whose own gradient may be given instead."""
    if isinstance(loss, Tensor):
        return Slopes(loss, (), None, (), _NO_FORMULA)
    given = 0 if loss.values is None else loss.values.shape[1]
    constants = _constants(loss.formula, joined_parts(kind_of(loss.formula), loss.numbers), width, given)
    formula = loss.values, loss.labels, loss.weight, loss.state
    return Slopes(loss.gradient, formula, loss.of_values, split_numbers(loss.numbers), constants)


def gradient_of_statistics(loss: LossGradient, statistics: Tensor) -> Tensor:
    """And of values if they have one, in one launch."""
    out = statistics.new_empty(statistics.shape)
    num_rows, width = statistics.shape
    slopes = slopes_of(loss, width)
    launch(
        slope_kernel, (cdiv(num_rows, _BLOCK),),
        statistics, slopes.gradient, slopes.formula, slopes.of_values, out, num_rows, slopes.numbers,
        constants=slopes.constants, WIDTH=width, BLOCK=_BLOCK,
    )  # fmt: skip
    return out


@lru_cache(maxsize=REMEMBERED)
def _constants(formula: str, of_parts: int, width: int, given: int) -> Constants:
    """What does not depend on the numbers, which may change at every step."""
    if formula in ROW_FORMULAS:
        functions = ROW_FORMULAS[formula]
        form = RowForm(functions.term_of(width + given), functions.read_of(width), width, given)
        return constants_of({"SLOPES": row_slopes, "SLOPE": functions.slope, "FORM": form})
    return constants_of({"SLOPES": decidability_slopes, "SLOPE": None, "FORM": of_parts})
