"""A loss of row statistics: a part of the launch that finds them, or a launch of its own.

LOSS is the device function of a kind of formulas. From ``formula_p``, which is values given of rows, labels, weights,
what is added and the poison, it writes ``loss_p``: the loss, what backward needs (``state``), and parts of the loss.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from torch import Tensor

from dmlkernels.backends.formulas import Loss, kind_of
from dmlkernels.backends.gpu.splits import cdiv
from dmlkernels.backends.triton.formulas.decidability import MomentsLossForm, decidability_loss, joined_parts
from dmlkernels.backends.triton.formulas.rows import MOST_PROGRAMS, ROW_FORMULAS, RowLossForm, row_loss
from dmlkernels.backends.triton.kernels.functions import ROWS_AT_ONCE
from dmlkernels.backends.triton.kernels.loss import loss_kernel
from dmlkernels.backends.triton.kernels.scalars import split_numbers
from dmlkernels.backends.triton.launcher import Constants, constants_of, launch
from dmlkernels.backends.triton.plan import REMEMBERED

MOST_ROWS = 32 * ROWS_AT_ONCE.value  # of one program. Proxy-Anchor has a row for every proxy
ROWS_OF_PROGRAM = 4 * ROWS_AT_ONCE.value  # where they are shared out


class Launched(NamedTuple):
    """What kernels take of a loss."""

    formula: tuple[Tensor | None, ...]
    loss: tuple[Tensor, ...]
    num_added: int
    numbers: tuple[float, ...]
    constants: Constants


_NO_LOSS = Launched((), (), 0, (), constants_of({"LOSS": None, "VALUE": None, "FORM": None}))


def launched(loss: Loss | None, width: int) -> Launched:
    """For so many statistics of a row; without a loss nothing."""
    if loss is None:
        return _NO_LOSS
    added, given = loss.added, 0 if loss.values is None else loss.values.shape[1]
    of_parts = joined_parts(kind_of(loss.formula), loss.numbers)
    constants = _constants(loss.formula, of_parts, loss.mean, width, given)
    formula, found = (loss.values, loss.labels, loss.weight, added, loss.poison), (loss.loss, loss.state, loss.parts)
    return Launched(formula, found, 0 if added is None else added.numel(), split_numbers(loss.numbers), constants)


def num_programs(formula: str, num_rows: int) -> int:
    """Programs that share out so many rows."""
    if formula not in ROW_FORMULAS or not ROW_FORMULAS[formula].costs or num_rows <= MOST_ROWS:
        return 1
    return min(MOST_PROGRAMS.value, cdiv(num_rows, ROWS_OF_PROGRAM))


def evaluate(loss: Loss, statistics: Tensor) -> None:
    """Fill in the loss, in one launch; of very many rows in two."""
    num_rows, width = statistics.shape
    programs, found = num_programs(loss.formula, num_rows), launched(loss, width)
    shares = None
    if programs > 1:  # what each finds of each term, and behind it a counter of programs
        shares = loss.state.new_zeros(2 * ROW_FORMULAS[loss.formula].terms * MOST_PROGRAMS.value + 1)
    launch(
        loss_kernel, (programs,),
        statistics, found.formula, found.loss, shares, num_rows, found.num_added, found.numbers,
        constants=found.constants,
    )  # fmt: skip


@lru_cache(maxsize=REMEMBERED)
def _constants(formula: str, of_parts: int, mean: bool, width: int, given: int) -> Constants:
    """What does not depend on the numbers, which may change at every step."""
    if formula in ROW_FORMULAS:
        functions = ROW_FORMULAS[formula]
        form = RowLossForm(functions.terms, mean, functions.read_of(width), width, given)
        return constants_of({"LOSS": row_loss, "VALUE": functions.value, "FORM": form})
    of_moments = MomentsLossForm(of_parts, mean, width)
    return constants_of({"LOSS": decidability_loss, "VALUE": kind_of(formula).form, "FORM": of_moments})
