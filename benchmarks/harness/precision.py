"""What matrix products are rounded to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """Of torch's products of float32, for a block."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def products_in(kind: str, device: str) -> Iterator[None]:
    """One of torch's precisions, or "autocast": that of torch's defaults, under autocast to bfloat16."""
    autocast = torch.autocast(torch.device(device).type, torch.bfloat16) if kind == "autocast" else nullcontext()
    with matmul_precision("highest" if kind == "autocast" else kind), autocast:
        yield
