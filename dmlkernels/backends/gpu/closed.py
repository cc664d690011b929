"""The torch backend's closed form where a GPU engine would otherwise compute tiles."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from threading import Lock

import torch
from torch import Tensor

from dmlkernels.backends.blocked import closed_form, normalise
from dmlkernels.backends.blocked.closed_form import saved_shape
from dmlkernels.backends.pairs import Forward, Gradients, Pairs

__all__ = ["applies", "backward", "forward", "saved_shape"]


def applies(pairs: Pairs) -> bool:
    """Whether D x D matrices replace the tiles: known from shapes and dtypes.

    Columns of halves are left to tiles, which multiply them on tensor cores: the closed form would want a copy of them,
    since Triton 3.6 does not compile float64 products of halves.
    """
    if not closed_form.supports(pairs) or pairs.column_labels is not None or pairs.columns is None:
        return False
    return pairs.columns.dtype.itemsize > 2 and closed_form.is_cheaper(pairs, _float64_cost(pairs.rows.device))


def forward(pairs: Pairs) -> Forward:
    """Finished statistics of every row."""
    with _full_float32(pairs.rows.device):
        return closed_form.forward(pairs, normalise)


def backward(pairs: Pairs, forward: Forward, gradient: Tensor, needs_rows: bool, needs_columns: bool) -> Gradients:
    """Gradients of rows and columns from that of the statistics."""
    with _full_float32(pairs.rows.device):
        return closed_form.backward(pairs, forward, gradient, needs_rows, needs_columns, normalise)


@lru_cache
def _float64_cost(device: torch.device) -> int:
    """Products in float32 that take the time of one in float64: 2 where devices are made for it, else 64."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return 2
    if torch.version.hip is not None:
        return 2 if torch.cuda.get_device_properties(device).gcnArchName.startswith("gfx9") else 64
    return 2 if torch.cuda.get_device_capability(device) in ((8, 0), (9, 0), (10, 0)) else 64


class _FullFloat32:
    """Matrix products in float32 proper, whatever the process allows elsewhere: tf32 would spoil variances.

    The switch is one for all threads, and autograd has a thread for each device: the first to come turns it, the last
    to go turns it back. Only ever entered inside an opaque op: before anything compiled around it runs, it is back.
    """

    def __init__(self) -> None:
        new = hasattr(torch.backends.cuda.matmul, "fp32_precision")
        self._name: str = "fp32_precision" if new else "allow_tf32"
        self._exact: str | bool = "ieee" if new else False
        self._allowed: str | bool = self._exact
        self._lock, self._inside = Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._allowed = getattr(torch.backends.cuda.matmul, self._name)
                setattr(torch.backends.cuda.matmul, self._name, self._exact)
            self._inside += 1

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                setattr(torch.backends.cuda.matmul, self._name, self._allowed)


_FULL_FLOAT32, _AS_IT_IS = _FullFloat32(), nullcontext()


def _full_float32(device: torch.device) -> AbstractContextManager[None]:
    return _AS_IT_IS if device.type == "cpu" else _FULL_FLOAT32
