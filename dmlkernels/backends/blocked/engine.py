"""What computes tiles and norms for the loops of this backend: plain tensors, or compiled code."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from dmlkernels.backends.blocked.columns import Columns
from dmlkernels.backends.blocked.normalise import Norms
from dmlkernels.backends.blocked.rows import Rows
from dmlkernels.backends.pairs import Pairs


class Fold(Protocol):
    """Folds tiles into the states of the row blocks, which it keeps."""

    def __init__(self, pairs: Pairs, rows: Rows) -> None: ...

    def within(self, i: int, j: int) -> bool:
        """Fold row block i against row block j, for both ends; whether its slope may be anywhere non-zero."""

    def columns(self, columns: Columns, i: int) -> None:
        """Fold row block i against these columns."""

    def finish(self) -> Tensor:  # (R', width)
        """The statistics of all rows."""


class Slope(Protocol):
    """Recomputes tiles and adds their share to the gradients of unit rows and columns."""

    def __init__(
        self,
        pairs: Pairs,
        rows: Rows,
        statistics: Tensor,  # (R', width)
        gradient: Tensor,  # (R', width)
    ) -> None: ...

    def within(self, i: int, j: int, of_rows: Tensor) -> None:
        """Row block i against row block j, for both ends."""

    def columns(self, columns: Columns, i: int, of_rows: Tensor | None, of_units: Tensor | None) -> None:
        """Row block i against these columns, of which ``of_units`` is the gradient."""


class Engine(NamedTuple):
    """Who computes what the loops go through."""

    norms: Norms
    fold: type[Fold]
    slope: type[Slope]
