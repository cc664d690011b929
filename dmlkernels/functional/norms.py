"""Norms of the embeddings, for margins that depend on them."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.functional.inputs import ProxyInputs
from dmlkernels.ops import row_norms


def norms_of(inputs: ProxyInputs) -> Tensor:  # (B,)
    """L2 norms of the embeddings; those of ignored rows, which may hold anything, are 0."""
    if inputs.has_row_kernels:
        wide = inputs.dtype == torch.float64  # which may be the proxies alone; halves need no copy
        return row_norms(inputs.embeddings.double() if wide else inputs.embeddings, inputs.labels)
    kept = torch.where(inputs.valid[:, None], inputs.embeddings, 0).to(inputs.dtype)
    return torch.linalg.vector_norm(kept, dim=1)
