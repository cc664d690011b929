"""What a finished run leaves: everything that the report shows of it."""

from __future__ import annotations

from typing import Any

import torch

from retrieval_lib.config import as_dict
from retrieval_lib.engine.trainer import Trainer
from retrieval_lib.evaluation.embedding import Embedded
from retrieval_lib.evaluation.examples import projection, retrieval_examples, verification_examples
from retrieval_lib.evaluation.scores import histograms, pair_scores
from retrieval_lib.provenance import provenance


def result_of(trainer: Trainer) -> dict[str, Any]:
    """Evaluate the epoch to report; every rank must call it."""
    chosen = trainer.chosen_epoch()
    test, gallery = trainer.embed_test()
    final = trainer.measure(trainer.task, test, gallery)
    return {
        "identity": trainer.job.identity(),
        "config": as_dict(trainer.config),
        "seed": trainer.job.seed,
        "batch_size": trainer.job.batch_size,
        "processes": trainer.world.size,
        "epoch": chosen,
        "final": final,
        "curve": trainer.position.history,
        "curve_split": "test" if trainer.split.validation is None else "validation",
        "seconds": trainer.position.seconds,
        "task": _task(trainer),
        "network": trainer.parts.network.backbone.origin,
        "warning": trainer.parts.warning,
        "provenance": provenance(trainer.world.device),
        **(_pictures(trainer, test, gallery) if trainer.world.is_main else {}),
    }


def _task(trainer: Trainer) -> dict[str, Any]:
    task = trainer.task
    return {
        "name": task.name,
        "sizes": list(task.sizes),
        "train_classes": trainer.split.num_classes,
        "test_classes": len(task.test.classes),
        "official": task.is_official,
        "kind": "retrieval" if task.pairs is None else "verification",
    }


def _pictures(trainer: Trainer, test: Embedded, gallery: Embedded | None) -> dict[str, Any]:
    task = trainer.task
    verification = task.pairs is not None
    return {
        "histogram": histograms(*pair_scores(test, gallery, task.pairs)),
        "examples": verification_examples(task, test) if verification else retrieval_examples(task, test, gallery),
        "projection": projection(test),
    }


def save_network(trainer: Trainer) -> None:
    """The network alone, of the epoch that was reported, for use elsewhere."""
    if trainer.world.is_main:
        torch.save(trainer.parts.network.state_dict(), trainer.job.folder / "network.pt")
