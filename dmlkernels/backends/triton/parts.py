"""Memory of vectors in parts, for the backward kernels that multiply those: see kernels/parts.py."""

from __future__ import annotations

import torch
from torch import Tensor


def empty_parts(vectors: Tensor, parts: int, gradient: Tensor | None = None) -> Tensor:
    """Memory of the parts of these vectors, (count, parts * D) float16: each where its own gradient will be, if the
    memory of those is given and large enough."""
    numbers = parts * vectors.shape[1]
    if gradient is not None and gradient.itemsize >= parts * torch.float16.itemsize:
        return gradient.view(torch.float16)[:, :numbers]
    return vectors.new_empty(vectors.shape[0], numbers, dtype=torch.float16)
