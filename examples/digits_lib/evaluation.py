"""How well an embedding retrieves."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from torch import Tensor, nn

import dmlkernels as dml
from digits_lib.data import BLACK

BINS, SHOWN = 60, (-4.0, 8.0)  # of a score histogram

# Brute-force search: the default would need faiss.
_search = CustomKNN(CosineSimilarity())
_by_class = AccuracyCalculator(
    include=("precision_at_1", "mean_average_precision_at_r"), k="max_bin_count", knn_func=_search
)
_by_texture = AccuracyCalculator(include=("precision_at_1",), k=1, knn_func=_search)


@torch.no_grad()
def embed(network: nn.Module, images: Tensor) -> Tensor:  # (N, 1, H, W) -> (N, D)
    """Embeddings in evaluation mode."""
    was_training = network.training
    network.eval()
    embeddings = network(images)
    network.train(was_training)
    return embeddings


def pair_scores(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines of all pairs of different rows: genuine (same label) and impostor."""
    unit = F.normalize(embeddings)
    first, second = torch.triu_indices(len(labels), len(labels), offset=1)
    scores = (unit @ unit.T)[first, second]
    genuine = labels[first] == labels[second]
    return scores[genuine], scores[~genuine]


def metrics(embeddings: Tensor, labels: Tensor, textures: Tensor) -> dict[str, float]:
    """Recall@1, MAP@R and d' by cosine; every view is a query against all the others."""
    retrieval = _by_class.get_accuracy(embeddings, labels)
    found = {
        "recall_at_1": retrieval["precision_at_1"],
        "map_at_r": retrieval["mean_average_precision_at_r"],
        "decidability": float(dml.decidability(*pair_scores(embeddings, labels))),
    }
    if bool((textures != BLACK).all()):
        # How often the nearest neighbour has the same background: what an embedding of digits should not know.
        found["same_background_at_1"] = _by_texture.get_accuracy(embeddings, textures)["precision_at_1"]
    return found


def score_histograms(embeddings: Tensor, labels: Tensor) -> dict[str, list[float]]:
    """Densities of genuine and impostor scores, in standard deviations of the impostor scores from their mean.

    So embeddings that differ in how narrow a cone they keep to share a scale, as d' has it.
    """
    genuine, impostor = pair_scores(embeddings, labels)
    mean, deviation = impostor.mean(), impostor.std()
    edges = torch.linspace(*SHOWN, BINS + 1)
    genuine, impostor = ((scores - mean) / deviation for scores in (genuine, impostor))
    densities = (torch.histogram(scores, edges, density=True).hist.tolist() for scores in (genuine, impostor))
    return {"edges": edges.tolist(), **dict(zip(("genuine", "impostor"), densities, strict=True))}
