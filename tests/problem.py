"""Everything a loss may be given, made from a case of the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.cases import CASES, Case, make_inputs

CENTERS_PER_CLASS = 2
VECTORS = ("embeddings", "intervened", "proxies", "centers", "atoms")
# Options that a loss may learn.
PARAMETERS = ("sample_margin", "class_margin", "sample_scale", "class_scale", "scale", "proxy_scale")
NAMED = {case.name: case for case in CASES}


@dataclass(frozen=True)
class Problem:
    """A loss picks its arguments from here by name."""

    embeddings: Tensor  # (B, D)
    intervened: Tensor  # (B, D)
    labels: Tensor  # (B,)
    proxies: Tensor  # (C, D)
    proxy_labels: Tensor | None  # (C,)
    centers: Tensor  # (C * CENTERS_PER_CLASS, D)
    atoms: Tensor  # (C, D)
    active: Tensor  # (C,) bool
    prior: Tensor  # (C,)
    weight: Tensor  # (B,)
    class_weights: Tensor  # (classes,)
    sample_margin: Tensor  # (B, 1)
    class_margin: Tensor  # (1, classes)
    sample_scale: Tensor  # (B, 1)
    class_scale: Tensor  # (1, classes)
    scale: Tensor  # ()
    proxy_scale: Tensor  # (1, C), where each proxy stands for a class

    def map(self, function: Callable[[Tensor], Tensor], *names: str) -> Problem:
        """Apply ``function`` to the tensors so named. Leaves that want a gradient stay so."""
        changed = {}
        for name in names:
            before = getattr(self, name)
            changed[name] = function(before.detach()).requires_grad_(before.requires_grad)
        return replace(self, **changed)

    def cast(self, dtype: torch.dtype, *names: str) -> Problem:
        """Cast the tensors so named; by default everything that can have a gradient, and the atoms."""
        return self.map(lambda x: x.to(dtype), *(names or (*VECTORS, *PARAMETERS)))

    def frozen(self, *names: str) -> Problem:
        """Detach the tensors so named."""
        return replace(self, **{name: getattr(self, name).detach() for name in names})


def make_problem(case: Case | str, dtype: torch.dtype = torch.float64, seed: int = 0) -> Problem:
    """Make the inputs of a case. Those that can have a gradient are leaves that want one."""
    case = NAMED[case] if isinstance(case, str) else case
    embeddings, labels, proxies, proxy_labels = make_inputs(case, dtype, seed)
    intervened = make_inputs(case, dtype, seed + 1)[0]
    generator = torch.Generator().manual_seed(seed + 2)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    def margins(*shape: int) -> Tensor:
        return (0.1 + 0.5 * torch.rand(shape, dtype=torch.float64, generator=generator)).to(dtype).requires_grad_()

    def scales(*shape: int) -> Tensor:
        return (4 + 4 * torch.rand(shape, dtype=torch.float64, generator=generator)).to(dtype).requires_grad_()

    rows = proxies.repeat_interleave(CENTERS_PER_CLASS, 0)
    norms = torch.linalg.vector_norm(rows.double(), dim=1, keepdim=True).to(dtype)
    aside = F.normalize(normal(*rows.shape), dim=1).to(dtype) * norms
    prior = normal(len(proxies)).softmax(0)
    weight = normal(len(embeddings)).exp()
    return Problem(
        embeddings.requires_grad_(),
        intervened.requires_grad_(),
        labels,
        proxies.requires_grad_(),
        proxy_labels,
        (rows + 0.4 * aside).detach().requires_grad_(),
        make_inputs(case, dtype, seed + 3)[2],
        torch.arange(len(proxies)) % 3 != 1,
        prior,
        weight,
        normal(case.num_classes).exp(),
        margins(len(embeddings), 1),
        margins(1, case.num_classes),
        *(scales(*shape) for shape in ((len(embeddings), 1), (1, case.num_classes), (), (1, len(proxies)))),
    )
