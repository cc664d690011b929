"""The backend's three functions: the closed form where it is cheaper, else kernels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache

import torch
from torch import Tensor

from dmlkernels.backends.blocked import closed_form, normalise
from dmlkernels.backends.pairs import Forward, Gradients, Pairs
from dmlkernels.backends.triton.availability import interpreted
from dmlkernels.backends.triton.plan import Architecture

HALF_RATE = 16  # products of halves on tensor cores to one float32 product off them


def memo_shape(pairs: Pairs) -> tuple[int, ...]:
    """Of the closed form's sums, or of the reciprocal norms of all vectors."""
    if has_closed_form(pairs):
        return closed_form.memo_shape(pairs)
    return (pairs.num_rows * pairs.statistic.views + pairs.num_columns,)


def forward(pairs: Pairs) -> Forward:
    """Finished statistics of every row."""
    arch = architecture(pairs.rows.device)
    _refuse(pairs, arch)
    with _on(pairs.rows.device):
        if has_closed_form(pairs):
            with full_float32(pairs.rows.device):
                return closed_form.forward(pairs, normalise)
        from dmlkernels.backends.triton import launch

        return launch.forward(pairs, arch)


def backward(pairs: Pairs, forward: Forward, gradient: Tensor, needs_rows: bool, needs_columns: bool) -> Gradients:
    """Gradients of rows and columns from that of the statistics."""
    arch = architecture(pairs.rows.device)
    with _on(pairs.rows.device):
        if has_closed_form(pairs):
            with full_float32(pairs.rows.device):
                return closed_form.backward(pairs, forward, gradient, needs_rows, needs_columns, normalise)
        from dmlkernels.backends.triton import launch

        return launch.backward(pairs, forward, gradient, needs_rows, needs_columns, arch)


def has_closed_form(pairs: Pairs) -> bool:
    """Whether D x D matrices replace the tiles: known from shapes and dtypes, and cheaper by operation count.

    Multiplications are counted as in the torch backend, at the rate of the units that do them: the closed form is
    evaluated in float32, tiles of halves run on tensor cores.
    """
    if not closed_form.supports(pairs) or pairs.column_labels is not None or pairs.columns is None:
        return False
    rows, columns, dim = pairs.num_rows, pairs.num_columns, pairs.dim
    rate = HALF_RATE if pairs.rows.dtype == pairs.columns.dtype and pairs.rows.dtype.itemsize == 2 else 1
    return rate * 2 * (rows + columns) * dim < 4 * rows * columns


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
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


@contextmanager
def _on(device: torch.device) -> Iterator[None]:
    """On this device, without autocast, which would round statistics."""
    current: AbstractContextManager[None] = torch.cuda.device(device) if device.type == "cuda" else nullcontext()
    with current, torch.autocast(device.type, enabled=False):
        yield


def architecture(device: torch.device) -> Architecture:
    """What tiles for this device depend on."""
    if device.type != "cuda":
        return Architecture("interpreter")
    return _architecture(device.index if device.index is not None else torch.cuda.current_device())


@lru_cache
def _architecture(index: int) -> Architecture:
    if torch.version.hip is not None:
        return Architecture("hip")
    major, minor = torch.cuda.get_device_capability(index)
    return Architecture("cuda", 10 * major + minor)


def _refuse(pairs: Pairs, arch: Architecture) -> None:
    """What would come out wrong rather than fail."""
    if arch.vendor != "interpreter":
        return
    if not interpreted():
        raise RuntimeError(f"backend 'triton' runs on CUDA and ROCm tensors, got {pairs.rows.device}")
    given = (pairs.rows.dtype, pairs.rows.dtype if pairs.columns is None else pairs.columns.dtype)
    if torch.bfloat16 in given:
        raise TypeError("backend 'triton': interpreted bfloat16 is wrong; expected float16, float32 or float64")
