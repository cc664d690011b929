"""How well embeddings retrieve and verify."""

from __future__ import annotations

from retrieval_lib.config import Evaluation
from retrieval_lib.data.task import Task
from retrieval_lib.evaluation.embedding import Embedded
from retrieval_lib.evaluation.retrieval import retrieval_metrics
from retrieval_lib.evaluation.scores import pair_scores, summary
from retrieval_lib.evaluation.verification import fold_accuracies, mean_and_error


def metrics(task: Task, test: Embedded, gallery: Embedded | None, settings: Evaluation) -> dict[str, float]:
    """Of a task: verification accuracy if it has pairs, retrieval otherwise; d' of the scores in any case."""
    genuine, impostor = pair_scores(test, gallery, task.pairs)
    found = {"decidability": summary(genuine, impostor)}
    if task.pairs is None:
        return found | retrieval_metrics(test, gallery, settings)
    accuracy, error = mean_and_error(fold_accuracies(test.embeddings, task.pairs))
    return found | {"accuracy": accuracy, "accuracy_standard_error": error}


def headline(found: dict[str, float]) -> tuple[str, float]:
    """The metric that an epoch is chosen by."""
    name = "accuracy" if "accuracy" in found else min((key for key in found if key.startswith("recall_at_")), key=_k)
    return name, found[name]


def _k(name: str) -> int:
    return int(name.rpartition("_")[2])
