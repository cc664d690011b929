"""Precision of matrix products."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """Set the precision of torch's float32 products within a block."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def products_in(kind: str, device: str) -> Iterator[None]:
    """Set one of torch's precisions within a block; "autocast" is torch's default, under autocast to bfloat16."""
    autocast = torch.autocast(torch.device(device).type, torch.bfloat16) if kind == "autocast" else nullcontext()
    with matmul_precision("highest" if kind == "autocast" else kind), autocast:
        yield
