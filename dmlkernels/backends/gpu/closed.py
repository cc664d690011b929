"""The torch backend's closed form where a GPU engine would otherwise compute tiles."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

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


@contextmanager
def _full_float32(device: torch.device) -> Iterator[None]:
    """Matrix products in float32 proper, whatever the process allows elsewhere: tf32 would spoil variances.

    Only ever entered inside an opaque op: the switch is put back before anything compiled around it runs.
    """
    if device.type == "cpu":
        yield
        return
    switches = torch.backends.cuda.matmul
    name, exact = ("fp32_precision", "ieee") if hasattr(switches, "fp32_precision") else ("allow_tf32", False)
    allowed = getattr(switches, name)
    setattr(switches, name, exact)
    try:
        yield
    finally:
        setattr(switches, name, allowed)
