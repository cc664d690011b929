"""Same person or not: accuracy over folds, the threshold of each chosen on the others."""

from __future__ import annotations

import statistics

import torch
from torch import Tensor

from retrieval_lib.data.task import Pairs


def pair_cosines(embeddings: Tensor, pairs: Pairs) -> Tensor:  # (P,) float64
    """Of unit embeddings; wide enough for a threshold between two neighbours in float32."""
    return (embeddings[pairs.first] * embeddings[pairs.second]).sum(1).double()


def fold_accuracies(embeddings: Tensor, pairs: Pairs) -> list[float]:
    """For each fold the accuracy at the threshold that is best on all the others."""
    scores, same, fold = pair_cosines(embeddings, pairs), torch.tensor(pairs.same), torch.tensor(pairs.fold)
    accuracies = []
    for held_out in fold.unique():
        tested = fold == held_out
        threshold = best_threshold(scores[~tested], same[~tested])
        accuracies.append(float(((scores[tested] > threshold) == same[tested]).float().mean()))
    return accuracies


def best_threshold(scores: Tensor, same: Tensor) -> float:
    """Halfway between the two neighbouring scores where a cut classifies most pairs rightly, or beyond all of them."""
    order = scores.argsort()
    ranked, is_same = scores[order].double(), same[order].long()
    below = torch.cat((torch.zeros(1, dtype=torch.long), (1 - is_same).cumsum(0)))  # different pairs under the cut
    above = is_same.sum() - torch.cat((torch.zeros(1, dtype=torch.long), is_same.cumsum(0)))
    right = below + above  # of the cut under each score and over the last one
    inside = torch.cat((torch.ones(1, dtype=torch.bool), ranked.diff() > 0, torch.ones(1, dtype=torch.bool)))
    cut = int(torch.where(inside, right, -1).argmax())
    edges = torch.cat((ranked[:1] - 1, ranked, ranked[-1:] + 1))
    return float((edges[cut] + edges[cut + 1]) / 2)


def mean_and_error(accuracies: list[float]) -> tuple[float, float]:
    """Mean over the folds and its standard error, as the data set's authors ask for."""
    return statistics.mean(accuracies), statistics.stdev(accuracies) / len(accuracies) ** 0.5
