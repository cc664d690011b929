"""Recall@K, MAP@R and NMI, the last two by pytorch-metric-learning."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from sklearn.cluster import KMeans
from torch import Tensor

from retrieval_lib.config import Evaluation
from retrieval_lib.evaluation.embedding import Embedded
from retrieval_lib.evaluation.search import neighbours


def retrieval_metrics(queries: Embedded, gallery: Embedded | None, settings: Evaluation) -> dict[str, float]:
    """By cosine; every image is a query, against the gallery or else against all the others."""
    sources = queries if gallery is None else gallery
    largest_class = int(sources.labels.unique(return_counts=True)[1].max())
    k = max(*settings.recall_at, largest_class)
    ranked = neighbours(queries.embeddings, None if gallery is None else gallery.embeddings, k)
    hits = sources.labels[ranked] == queries.labels[:, None]
    found = {f"recall_at_{k}": float(hits[:, :k].any(1).float().mean()) for k in settings.recall_at}
    include = ["mean_average_precision_at_r"] + ["NMI"] * settings.nmi

    def search(_: Tensor, k: int, *__: Any) -> tuple[Tensor, Tensor]:
        return torch.empty(0), ranked[:, :k]

    calculator = AccuracyCalculator(
        include=include, k="max_bin_count", device=torch.device("cpu"), knn_func=search, kmeans_func=_clusters
    )
    reference = {} if gallery is None else {"reference": gallery.embeddings, "reference_labels": gallery.labels}
    by_library = calculator.get_accuracy(queries.embeddings, queries.labels, **reference)
    found["map_at_r"] = by_library["mean_average_precision_at_r"]
    if settings.nmi:
        found["nmi"] = float(by_library["NMI"])
    return found


def _clusters(embeddings: Tensor, number: int) -> Tensor:
    clustering = KMeans(number, n_init=1, random_state=0)
    return torch.from_numpy(clustering.fit_predict(embeddings.numpy()))
