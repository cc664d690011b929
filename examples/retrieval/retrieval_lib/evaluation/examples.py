"""What the report shows of a test set: queries with what they found, and a projection to the plane."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from retrieval_lib.data.task import Task
from retrieval_lib.evaluation.embedding import Embedded
from retrieval_lib.evaluation.search import neighbours
from retrieval_lib.evaluation.verification import best_threshold, pair_cosines

QUERIES = 4  # of each kind: the first neighbour is right, or wrong
FOUND = 6  # neighbours of each
CLASSES, OF_EACH = 8, 40  # of the projection


def retrieval_examples(task: Task, test: Embedded, gallery: Embedded | None) -> list[dict[str, Any]]:
    """Queries spread over the test set, half of them with a wrong first neighbour, each with what it found."""
    ranked = neighbours(test.embeddings, None if gallery is None else gallery.embeddings, FOUND)
    sources, images = (test, task.test) if gallery is None else (gallery, task.gallery)
    hits = sources.labels[ranked] == test.labels[:, None]
    examples = []
    for wanted in (True, False):
        rows = (hits[:, 0] == wanted).nonzero()[:, 0]
        for row in rows[torch.linspace(0, len(rows) - 1, min(QUERIES, len(rows))).long()].tolist():
            found = [
                {"path": str(images.paths[one]), "label": images.labels[one], "hit": bool(hit)}
                for one, hit in zip(ranked[row].tolist(), hits[row], strict=True)
            ]
            examples.append({"path": str(task.test.paths[row]), "label": task.test.labels[row], "found": found})
    return examples


def verification_examples(task: Task, test: Embedded) -> list[dict[str, Any]]:
    """The pairs that were hardest: same with the lowest scores, different with the highest."""
    scores, same = pair_cosines(test.embeddings, task.pairs), torch.tensor(task.pairs.same)
    threshold = best_threshold(scores, same)
    hardest = torch.where(same, scores, -scores)
    examples = []
    for kind in (True, False):
        rows = (same == kind).nonzero()[:, 0]
        for row in rows[hardest[rows].argsort()[:QUERIES]].tolist():
            first, second = task.pairs.first[row], task.pairs.second[row]
            right = bool((scores[row] > threshold) == same[row])
            found = {"path": str(task.test.paths[second]), "label": task.test.labels[second], "hit": right}
            examples.append(
                {
                    "path": str(task.test.paths[first]),
                    "label": task.test.labels[first],
                    "found": [found],
                    "note": f"{'same' if kind else 'different'}, score {float(scores[row]):.2f}",
                }
            )
    return examples


def projection(test: Embedded) -> dict[str, Any]:
    """Embeddings of some classes on their first two principal axes, within the unit circle."""
    classes, counts = test.labels.unique(return_counts=True)
    largest = classes[counts.argsort(descending=True, stable=True)[:CLASSES]]
    rows = torch.cat([(test.labels == label).nonzero()[:OF_EACH, 0] for label in largest])
    centred: Tensor = test.embeddings[rows] - test.embeddings[rows].mean(0)
    axes = torch.linalg.svd(centred, full_matrices=False)
    plane = centred @ axes.Vh[:2].T
    plane = plane / plane.norm(dim=1).max().clamp_min(1e-12)
    kept = float(axes.S[:2].square().sum() / axes.S.square().sum().clamp_min(1e-12))
    return {"points": plane.tolist(), "labels": test.labels[rows].tolist(), "variance_kept": kept}
