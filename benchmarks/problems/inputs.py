"""Embeddings, labels and proxies of a case, from its seed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.problems.shapes import ATOMS, Shape


@dataclass(frozen=True)
class Case:
    """One problem that variants are compared on. ``pattern`` says what the embeddings look like:

    random      embeddings and proxies know nothing of each other: the softmax is flat
    clustered   samples near their proxies: the softmax is peaked, the field is that of a trained network
    collapsed   all points within a small cap, as a network gives them that has learned nothing: every hill acts
    progress:t  between collapsed (0) and clustered (1)

    ``dtype`` is that of the embeddings; a half type alone stands beside float32 proxies, as under autocast, and
    "bfloat16 x bfloat16" is that of embeddings and of proxies.
    """

    loss: str
    shape: Shape
    pattern: str = "random"
    dtype: str = "float32"
    device: str = "cpu"
    seed: int = 0

    @property
    def dtypes(self) -> tuple[torch.dtype, torch.dtype]:
        """Dtypes of embeddings and of proxies."""
        rows, _, columns = self.dtype.partition(" x ")
        return getattr(torch, rows), getattr(torch, columns or ("float64" if rows == "float64" else "float32"))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(fields: dict[str, Any]) -> Case:
        return Case(**fields | {"shape": Shape(**fields["shape"])})


class Inputs(NamedTuple):
    embeddings: Tensor  # (B, D)
    labels: Tensor  # (B,)
    proxies: Tensor  # (C, D)
    proxy_labels: Tensor  # (C,)
    atoms: Tensor  # (64, D)
    second_view: Tensor  # (B, D)


def make_inputs(case: Case) -> Inputs:
    """Make the inputs in the case's dtypes, where they stay; the atoms have that of the proxies."""
    shape = case.shape
    generator = torch.Generator(case.device).manual_seed(case.seed)
    sample_dtype, proxy_dtype = case.dtypes
    wide = torch.float64 if proxy_dtype == torch.float64 else torch.float32

    def normal(rows: int) -> Tensor:
        # Drawn in float32 whatever the dtype, so that every dtype gets the same problem.
        return torch.randn(rows, shape.dim, generator=generator, device=case.device).to(wide)

    if shape.proxies:
        labels = torch.randint(0, shape.classes, (shape.batch,), generator=generator, device=case.device)
    else:  # four samples of each class, as samplers for pair losses give
        labels = torch.arange(shape.batch, device=case.device) // 4
    proxy_labels = torch.arange(shape.proxies, device=case.device) // shape.group
    anchors = normal(shape.classes if shape.proxies else int(labels[-1]) + 1)
    samples, proxies = normal(shape.batch), normal(shape.proxies)
    if case.pattern != "random":
        progress = {"clustered": 1.0, "collapsed": 0.0}.get(case.pattern)
        progress = float(case.pattern.removeprefix("progress:")) if progress is None else progress
        anchors = F.normalize(anchors)
        center = F.normalize(normal(1))
        samples = _place(anchors[labels], F.normalize(samples), center, progress, 1.5)
        # One proxy per class is the class; several spread around it.
        noise = 0.1 if shape.group > 1 else 0.0
        proxies = _place(anchors[proxy_labels], F.normalize(proxies), center, progress, noise)
    atoms, second = normal(ATOMS), samples + 0.5 * samples.std() * normal(shape.batch)
    return Inputs(
        samples.to(sample_dtype),
        labels,
        proxies.to(proxy_dtype),
        proxy_labels,
        atoms.to(proxy_dtype),
        second.to(sample_dtype),
    )


def _place(anchors: Tensor, noise: Tensor, center: Tensor, progress: float, spread: float) -> Tensor:
    """Unit points: the anchor's share grows with progress, that of the common centre shrinks."""
    return F.normalize(progress * (anchors + spread * noise) + (1 - progress) * (center + 0.05 * noise))
