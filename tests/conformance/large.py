"""Problems whose matrix of pairs is far larger than their inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.problem import CENTERS_PER_CLASS, Problem


def large_problem(batch: int, classes: int, dim: int, dtype: torch.dtype) -> Problem:
    """Random directions, one proxy a class, sixteen atoms."""
    generator = torch.Generator().manual_seed(0)

    def vectors(rows: int) -> Tensor:
        return torch.randn(rows, dim, generator=generator).to(dtype).requires_grad_()

    atoms = 16
    return Problem(
        embeddings=vectors(batch),
        intervened=vectors(batch),
        labels=torch.randint(0, classes // 8, (batch,), generator=generator),
        proxies=vectors(classes),
        proxy_labels=None,
        centers=vectors(classes * CENTERS_PER_CLASS),
        atoms=vectors(atoms).detach(),
        active=torch.arange(atoms) % 3 != 1,
        prior=torch.rand(atoms, generator=generator),
        weight=torch.rand(batch, generator=generator),
        sample_margin=torch.rand(batch, 1, generator=generator).to(dtype).requires_grad_(),
        class_weights=torch.rand(classes, generator=generator),
        sample_scale=(4 + torch.rand(batch, 1, generator=generator)).to(dtype).requires_grad_(),
        class_scale=(4 + torch.rand(1, classes, generator=generator)).to(dtype).requires_grad_(),
        scale=torch.tensor(5.0, dtype=dtype, requires_grad=True),
        class_margin=torch.rand(1, classes, generator=generator).to(dtype).requires_grad_(),
        proxy_scale=(4 + torch.rand(1, classes, generator=generator)).to(dtype).requires_grad_(),
    )
