"""Nearest neighbours by cosine: faiss when installed, blocks of matrix products otherwise."""

from __future__ import annotations

import torch
from torch import Tensor

try:
    import faiss
except ImportError:
    faiss = None

ROWS = 1024  # of a block


def implementation() -> str:
    """For the report."""
    return "plain torch" if faiss is None else f"faiss {faiss.__version__}"


def neighbours(queries: Tensor, gallery: Tensor | None, k: int) -> Tensor:  # (N, D), (M, D) -> (N, k)
    """Indices of the most similar rows, best first; without a gallery, of the other queries.

    Args:
        queries, gallery: unit rows.
        k: at most the number of rows to find.
    """
    sources = queries if gallery is None else gallery
    k = min(k, len(sources) - (gallery is None))
    if faiss is not None:
        return _without_self(_faiss_search(queries, sources, k + (gallery is None)), k, gallery is None)
    found = []
    for start in range(0, len(queries), ROWS):
        scores = queries[start : start + ROWS] @ sources.T
        if gallery is None:
            rows = torch.arange(len(scores))
            scores[rows, rows + start] = -torch.inf
        found.append(scores.topk(k).indices)
    return torch.cat(found)


def _faiss_search(queries: Tensor, sources: Tensor, k: int) -> Tensor:
    index = faiss.IndexFlatIP(sources.shape[1])
    index.add(sources.numpy())
    return torch.from_numpy(index.search(queries.numpy(), k)[1])


def _without_self(found: Tensor, k: int, exclude: bool) -> Tensor:
    """Drop each query from its own list, wherever ties put it; the last one of a list without it."""
    if not exclude:
        return found
    is_self = found == torch.arange(len(found))[:, None]
    is_self[~is_self.any(1), -1] = True
    return found[~is_self].view(len(found), k)
