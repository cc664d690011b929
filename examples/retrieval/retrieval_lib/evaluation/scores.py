"""Genuine and impostor scores of pairs, d' and histograms."""

from __future__ import annotations

import torch
from torch import Tensor

import dmlkernels as dml
from retrieval_lib.data.task import Pairs
from retrieval_lib.evaluation.embedding import Embedded
from retrieval_lib.evaluation.verification import pair_cosines

MOST = 2_000_000  # impostor pairs, beyond which some are drawn at random
MOST_BINS = 60


def pair_scores(test: Embedded, gallery: Embedded | None, pairs: Pairs | None) -> tuple[Tensor, Tensor]:
    """Cosines of same-class and of different-class pairs: the listed ones, or all of different images."""
    if pairs is not None:
        scores, same = pair_cosines(test.embeddings, pairs).float(), torch.tensor(pairs.same)
        return scores[same], scores[~same]
    other = test if gallery is None else gallery
    first, second = _genuine_pairs(test.labels, other.labels, ordered=gallery is None)
    genuine = (test.embeddings[first] * other.embeddings[second]).sum(1)
    first, second = _impostor_pairs(test.labels, other.labels, ordered=gallery is None)
    return genuine, (test.embeddings[first] * other.embeddings[second]).sum(1)


def _genuine_pairs(labels: Tensor, others: Tensor, *, ordered: bool) -> tuple[Tensor, Tensor]:
    firsts, seconds = [], []
    for label in labels.unique():
        rows, columns = (labels == label).nonzero()[:, 0], (others == label).nonzero()[:, 0]
        pairs = torch.cartesian_prod(rows, columns).view(-1, 2)
        if ordered:
            pairs = pairs[pairs[:, 0] < pairs[:, 1]]
        firsts.append(pairs[:, 0])
        seconds.append(pairs[:, 1])
    return torch.cat(firsts), torch.cat(seconds)


def _impostor_pairs(labels: Tensor, others: Tensor, *, ordered: bool) -> tuple[Tensor, Tensor]:
    if len(labels) * len(others) <= MOST:
        first, second = (labels[:, None] != others).nonzero().unbind(1)
    else:
        generator = torch.Generator().manual_seed(0)
        first = torch.randint(len(labels), (MOST,), generator=generator)
        second = torch.randint(len(others), (MOST,), generator=generator)
    kept = labels[first] != others[second]
    if ordered:
        kept &= first < second
    return first[kept], second[kept]


def summary(genuine: Tensor, impostor: Tensor) -> float:
    """d', NaN where a kind of pair is missing."""
    return float(dml.decidability(genuine, impostor)) if len(genuine) and len(impostor) else float("nan")


def histograms(genuine: Tensor, impostor: Tensor) -> dict[str, list[float]]:
    """Densities between common edges."""
    together = torch.cat((genuine, impostor))
    bins = max(10, min(MOST_BINS, int(min(len(genuine), len(impostor)) ** 0.5)))
    edges = torch.linspace(float(together.min()), max(1.0, float(together.max())), bins + 1)
    densities = {
        name: torch.histogram(scores, edges, density=True).hist.tolist() if len(scores) else [0.0] * bins
        for name, scores in (("genuine", genuine), ("impostor", impostor))
    }
    return {"edges": edges.tolist(), **densities}
