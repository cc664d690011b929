"""Operations that the Triton kernels of a step really do, read off their launches."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from dmlkernels.backends.triton.saved import FLAG_COLUMNS, FLAG_ROWS


@dataclass
class Work:
    """Floating-point operations of matrix products; 0 where no kernel was launched, as in closed form."""

    launches: list[float] = field(default_factory=list)  # of each kernel, in order

    @property
    def flops(self) -> float:
        return sum(self.launches)


@contextmanager
def counted() -> Iterator[Work]:
    """Count in a block what is launched in it. Reads flags of sparse statistics, which synchronises."""
    work = Work()
    try:
        from dmlkernels.backends.triton import launch
    except ImportError:  # no Triton, so no kernels
        yield work
        return
    with ExitStack() as stack:
        for name, count in COUNTED.items():
            stack.enter_context(mock.patch.object(launch, name, _Counted(getattr(launch, name), count, work)))
        yield work


class _Counted:
    """A kernel whose launches are counted."""

    def __init__(self, kernel: Any, count: Callable[[dict[str, Any]], float], work: Work) -> None:
        self._kernel, self._count, self._work = kernel, count, work
        self._names = list(inspect.signature(kernel.fn).parameters)

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        def launch(*args: Any, **options: Any) -> None:
            self._kernel[grid](*args, **options)
            self._work.launches.append(self._count(dict(zip(self._names, args, strict=False)) | options))

        return launch


def _of_forward(given: dict[str, Any]) -> float:
    return float(2 * given["num_rows"] * given["num_columns"] * given["DIM"])


def _of_backward(given: dict[str, Any]) -> float:
    """Each slice of a gradient's components scores the pairs again."""
    owned, streamed, dim = given["num_owned"], given["num_streamed"], given["DIM"]
    slices = -(-dim // given["SLICE"])
    return 2 * owned * streamed * dim * (slices + 1) * acting(given["flags_p"], owned, streamed)


def _of_both(given: dict[str, Any]) -> float:
    rows, columns = given["num_rows"], given["num_columns"]
    return sum(
        _of_backward({**given, "num_owned": owned, "num_streamed": streamed, "SLICE": given[side].SLICE})
        for side, owned, streamed in (("X", rows, columns), ("W", columns, rows))
    )


COUNTED = {"forward_kernel": _of_forward, "backward_kernel": _of_backward, "both_kernel": _of_both}
"""Kernels that multiply, and what each does."""


def acting(flags: Tensor | None, rows: int, columns: int) -> float:
    """The share of the areas of a matrix of scores that are flagged, or all of them without flags."""
    if flags is None:
        return 1.0
    words = flags[: -(-rows // FLAG_ROWS) * -(-columns // (32 * FLAG_COLUMNS))]
    bits = torch.arange(32, device=flags.device)
    found = ((words[:, None] >> bits) & 1).sum().item()
    return found / (-(-rows // FLAG_ROWS) * -(-columns // FLAG_COLUMNS))
