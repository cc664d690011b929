"""The backend's functions: the closed form where it is cheaper, else kernels. Labels of more columns than a tile
holds (SoftTriple with more than 32 centres a class) are the torch backend's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from dmlkernels.backends.formulas import Loss, LossGradient
from dmlkernels.backends.gpu import on_device, solver
from dmlkernels.backends.gpu.splits import multiprocessors
from dmlkernels.backends.pairs import Forward, Gradients, Pairs, Shape, Solver
from dmlkernels.backends.triton import formulas
from dmlkernels.backends.triton.availability import interpreted
from dmlkernels.backends.triton.labels import RawLabels
from dmlkernels.backends.triton.plan import Architecture, fits
from dmlkernels.backends.triton.saved import closed_size, saved_size
from dmlkernels.statistics import CATALOGUE


class _Launches(Solver):
    """A module of launches, compiled for the device of the pairs or interpreted; imported when it is needed."""

    def __init__(self, name: str, saved_size: Callable[[Shape], int]) -> None:
        self._name, self._saved_size = name, saved_size

    @cached_property
    def _module(self) -> Any:
        return import_module(f"dmlkernels.backends.triton.{self._name}")

    def saved_shape(self, pairs: Pairs) -> tuple[int, ...]:
        return (self._saved_size(pairs.shape),)

    def forward(self, pairs: Pairs, **more: Any) -> Forward:
        found: Forward = self._module.forward(pairs, architecture(pairs.rows.device), **more)
        return found

    def backward(
        self, pairs: Pairs, forward: Forward, gradient: Tensor | LossGradient, needs_rows: bool, needs_columns: bool
    ) -> Gradients:
        arch = architecture(pairs.rows.device)
        found: Gradients = self._module.backward(pairs, forward, gradient, needs_rows, needs_columns, arch)
        return found


_TILES, _CLOSED_MOMENTS = _Launches("launch", saved_size), _Launches("closed_form", closed_size)


def supports(statistic: str) -> bool:
    """Whether there is an epilogue for the statistic of this name."""
    from dmlkernels.backends.triton.epilogues import has_epilogue

    return has_epilogue(CATALOGUE[statistic])


def saved_shape(pairs: Pairs) -> tuple[int, ...]:
    """Shape of what forward keeps for backward."""
    return _solver(pairs).saved_shape(pairs)


def forward(pairs: Pairs, raw: RawLabels | None = None, loss: Loss | None = None) -> Forward:
    """Finished statistics of every row, whose labels are first resolved if they are those of ``raw``, and ``loss``."""
    _refuse(pairs)
    with on_device(pairs.rows.device):
        chosen = _solver(pairs)
        if raw is not None and (chosen is not _TILES or pairs.within):
            raw.resolve(pairs)
            raw = None
        if chosen is _TILES:
            return _TILES.forward(pairs, raw=raw, loss=loss)
        found = chosen.forward(pairs)
        if loss is not None:
            formulas.evaluate(loss, found.statistics.contiguous())
        return found


def backward(
    pairs: Pairs, forward: Forward, gradient: Tensor | LossGradient, needs_rows: bool, needs_columns: bool
) -> Gradients:
    """Gradients of rows and columns from that of the statistics, or of a loss of them."""
    with on_device(pairs.rows.device):
        chosen = _solver(pairs)
        if chosen is _TILES:
            return _TILES.backward(pairs, forward, gradient, needs_rows, needs_columns)
        if not isinstance(gradient, Tensor):
            gradient = formulas.backward(gradient, forward.statistics.contiguous())
        return chosen.backward(pairs, forward, gradient, needs_rows, needs_columns)


def _solver(pairs: Pairs) -> Solver:
    return solver(pairs, _TILES, fits(pairs.statistic.group), _CLOSED_MOMENTS)


def architecture(device: torch.device) -> Architecture:
    """What tiles for this device depend on."""
    if device.type != "cuda":
        return Architecture("interpreter")
    return _architecture(device.index if device.index is not None else torch.cuda.current_device())


@lru_cache
def _architecture(index: int) -> Architecture:
    units = multiprocessors(torch.device("cuda", index))
    if torch.version.hip is not None:
        return Architecture("hip", multiprocessors=units)
    major, minor = torch.cuda.get_device_capability(index)
    return Architecture("cuda", 10 * major + minor, units)


def _refuse(pairs: Pairs) -> None:
    """What would come out wrong rather than fail."""
    if pairs.rows.device.type == "cuda":
        return
    if interpreted():
        given = (pairs.rows.dtype, pairs.rows.dtype if pairs.columns is None else pairs.columns.dtype)
        if torch.bfloat16 in given:
            raise TypeError("backend 'triton': interpreted bfloat16 is wrong; expected float16, float32 or float64")
    elif architecture(pairs.rows.device).vendor == "interpreter":
        raise RuntimeError(f"backend 'triton' runs on CUDA and ROCm tensors, got {pairs.rows.device}")
