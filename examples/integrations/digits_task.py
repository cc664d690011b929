"""What the integration programs share: handwritten digits, a small network, and retrieval of unseen digits."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import dmlkernels as dml

TRAIN_CLASSES = 5
EMBEDDING_SIZE = 16


def digits() -> tuple[TensorDataset, TensorDataset]:
    """Digits 0-4 to train on and 5-9 to retrieve, as (1, 8, 8) images and labels."""
    found = load_digits()
    images, labels = torch.tensor(found.images / 16, dtype=torch.float32)[:, None], torch.tensor(found.target)
    train = labels < TRAIN_CLASSES
    return TensorDataset(images[train], labels[train]), TensorDataset(images[~train], labels[~train])


def network() -> nn.Sequential:
    """A backbone that maps (B, 1, 8, 8) to (B, EMBEDDING_SIZE)."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(32, EMBEDDING_SIZE),
    )  # fmt: skip


@torch.no_grad()
def decidability_of(backbone: nn.Module, dataset: TensorDataset) -> float:
    """d' between the cosines of pairs of one class and of pairs of two."""
    images, labels = dataset.tensors
    training = backbone.training
    unit = nn.functional.normalize(backbone.eval()(images).float())
    backbone.train(training)
    first, second = torch.triu_indices(len(labels), len(labels), offset=1)
    scores, genuine = (unit @ unit.T)[first, second], labels[first] == labels[second]
    return float(dml.decidability(scores[genuine], scores[~genuine]))


def report(before: float, after: float) -> dict[str, float]:
    """Print and return how far unseen classes are apart before and after training."""
    print(f"decidability d' of unseen digits: {before:.2f} before, {after:.2f} after training")
    return {"before": before, "after": after}


def classes_of(dataset: TensorDataset) -> Tensor:
    """Labels of a data set."""
    return dataset.tensors[1]
