"""Metrics against slow, obvious ones."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from retrieval_lib.config import Evaluation
from retrieval_lib.data.task import Pairs
from retrieval_lib.evaluation import search
from retrieval_lib.evaluation.embedding import Embedded
from retrieval_lib.evaluation.retrieval import retrieval_metrics
from retrieval_lib.evaluation.scores import histograms, pair_scores, summary
from retrieval_lib.evaluation.verification import best_threshold, fold_accuracies, mean_and_error, pair_cosines


def embedded(count: int, classes: int, seed: int) -> Embedded:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    vectors = torch.randn(count, 5, generator=generator) + 0.7 * torch.eye(5)[labels % 5]
    return Embedded(F.normalize(vectors), labels)


def ranked_labels(query: int, test: Embedded, gallery: Embedded | None) -> list[int]:
    """Labels of all others, the most similar first."""
    sources = test if gallery is None else gallery
    scores = (sources.embeddings @ test.embeddings[query]).tolist()
    others = [i for i in range(len(scores)) if gallery is not None or i != query]
    return [int(sources.labels[i]) for i in sorted(others, key=lambda i: -scores[i])]


def slow_metrics(test: Embedded, gallery: Embedded | None, ks: list[int]) -> dict[str, float]:
    recalls: dict[int, list[bool]] = {k: [] for k in ks}
    precisions = []
    for query, label in enumerate(test.labels.tolist()):
        hits = [other == label for other in ranked_labels(query, test, gallery)]
        for k in ks:
            recalls[k].append(any(hits[:k]))
        relevant = sum(hits)
        precisions.append(sum(sum(hits[: i + 1]) / (i + 1) for i in range(relevant) if hits[i]) / relevant)
    found = {f"recall_at_{k}": sum(values) / len(values) for k, values in recalls.items()}
    return found | {"map_at_r": sum(precisions) / len(precisions)}


@pytest.mark.parametrize("with_gallery", [False, True])
def test_retrieval_metrics(with_gallery: bool) -> None:
    test, gallery = embedded(40, 5, 0), embedded(30, 5, 1) if with_gallery else None
    settings = Evaluation(recall_at=[1, 3, 10], nmi=True)
    found = retrieval_metrics(test, gallery, settings)
    expected = slow_metrics(test, gallery, settings.recall_at)
    assert 0 < expected["recall_at_1"] < 1
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert 0 < found["nmi"] < 1


def test_a_query_is_never_its_own_neighbour_whatever_ties() -> None:
    same = F.normalize(torch.ones(6, 3))
    for found in (
        search.neighbours(same, None, 3),
        search._without_self(torch.tensor([[1, 2], [0, 1], [0, 1]]), 1, True),
    ):
        assert not (found == torch.arange(len(found))[:, None]).any()
    assert search.neighbours(same, None, 50).shape == (6, 5)
    assert search.neighbours(same, same, 50).shape == (6, 6)


def test_search_in_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    test, gallery = embedded(40, 5, 0), embedded(30, 5, 1)
    for sources in (None, gallery.embeddings):
        expected = search.neighbours(test.embeddings, sources, 7)
        with monkeypatch.context() as patch:
            patch.setattr(search, "ROWS", 7)
            assert search.neighbours(test.embeddings, sources, 7).equal(expected)


def slow_accuracy(scores: Tensor, same: Tensor, threshold: float) -> float:
    return float(((scores > threshold) == same).double().mean())


def test_threshold_is_the_best_of_all() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        scores = torch.randint(0, 12, (15,), generator=generator) / 10  # with ties
        same = torch.rand(15, generator=generator) < 0.5
        best = max(slow_accuracy(scores, same, cut) for cut in torch.arange(-0.05, 1.3, 0.1).tolist())
        assert slow_accuracy(scores, same, best_threshold(scores, same)) == best
    assert best_threshold(torch.tensor([0.2, 0.4]), torch.tensor([True, True])) < 0.2
    assert best_threshold(torch.tensor([0.2, 0.4]), torch.tensor([False, False])) > 0.4


def test_fold_accuracy_uses_the_other_folds_threshold() -> None:
    # Fold 0 alone would be cut at 0.8; the others cut at 0.5, which gets one of its pairs wrong.
    scores, same = [0.9, 0.7, 0.6, 0.4, 0.6, 0.4], [True, False, True, False, True, False]
    embeddings = torch.stack([torch.tensor([1.0, 0.0]), *(torch.tensor([s, (1 - s * s) ** 0.5]) for s in scores)])
    pairs = Pairs([0] * 6, list(range(1, 7)), same, [0, 0, 1, 1, 2, 2])
    accuracies = fold_accuracies(embeddings, pairs)
    assert accuracies == [0.5, 1.0, 1.0]
    assert mean_and_error(accuracies) == pytest.approx((2.5 / 3, 0.5 / 3))


@pytest.mark.parametrize("most", [10**6, 1])
def test_pair_scores(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr("retrieval_lib.evaluation.scores.MOST", max(most, 500))
    test, gallery = embedded(30, 4, 0), embedded(20, 4, 1)
    genuine, impostor = pair_scores(test, None, None)
    pairs = list(itertools.combinations(range(30), 2))
    slow = [float(test.embeddings[i] @ test.embeddings[j]) for i, j in pairs if test.labels[i] == test.labels[j]]
    assert sorted(genuine.tolist()) == pytest.approx(sorted(slow), abs=1e-6)
    every = sum(test.labels[i] != test.labels[j] for i, j in pairs)
    assert len(impostor) == every if most > 1 else 100 < len(impostor) < every
    genuine, impostor = pair_scores(test, gallery, None)
    assert len(genuine) == int((test.labels[:, None] == gallery.labels).sum())
    assert summary(genuine, impostor) > 0
    density = histograms(genuine, impostor)
    width = density["edges"][1] - density["edges"][0]
    assert sum(density["genuine"]) * width == pytest.approx(1, rel=1e-4)


def test_a_threshold_between_neighbours_in_float32() -> None:
    """The middle of two of them rounds to one of both."""
    scores, same = torch.tensor([1 - 2**-24, 1.0]).double(), torch.tensor([False, True])
    assert ((scores > best_threshold(scores, same)) == same).all()
    pairs = Pairs([0, 0], [1, 2], [False, True], [0, 0])
    assert pair_cosines(torch.eye(3), pairs).dtype == torch.float64
