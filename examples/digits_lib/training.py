"""One training run, from a job that says what to train to numbers that can be stored as JSON."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from digits_lib.data import Split, digits_task, with_noise
from digits_lib.evaluation import embed, metrics, score_histograms
from digits_lib.network import ConvNet
from digits_lib.objectives import CATALOGUE, EMBEDDING_SIZE, Objective

LEARNING_RATE = 1e-3
PROXY_LR_FACTOR = 10
BATCH = 100
TEST_SEED = 1_000_000  # beyond the seeds of training


@dataclass(frozen=True)
class Job:
    """What to train."""

    loss: str  # a key of CATALOGUE
    seed: int
    epochs: int
    evaluate_every: int
    noise: float = 0.0  # share of flipped training labels
    background: str = "black"  # see digits_task


@dataclass
class Run:
    """What came out of a job; all metrics are those of the unseen classes."""

    job: Job
    raw_pixels: dict[str, float]  # metrics without any network
    curve: list[dict[str, float]]  # metrics with their "epoch", from before training to the end
    scores_before: dict[str, list[float]]
    scores_after: dict[str, list[float]]
    seconds: float  # CPU time of training, without evaluation

    @property
    def before(self) -> dict[str, float]:
        return self.curve[0]

    @property
    def after(self) -> dict[str, float]:
        return self.curve[-1]


def run(job: Job) -> Run:
    """Train and evaluate. Jobs of equal seed start from equal networks and see equal batches."""
    train, test = digits_task(job.seed, job.background)
    images = test.paint(torch.Generator().manual_seed(TEST_SEED + job.seed))
    labels = with_noise(train.labels, job.noise, job.seed)
    torch.manual_seed(job.seed)
    network = ConvNet(EMBEDDING_SIZE)
    raw_pixels = metrics(images.flatten(1), test)
    embeddings = embed(network, images)
    scores_before = score_histograms(embeddings, test.labels)
    curve = [{"epoch": 0, **metrics(embeddings, test)}]
    seconds, started = 0.0, time.process_time()
    for epoch in fit(network, CATALOGUE[job.loss].make(), train, labels, seed=job.seed, epochs=job.epochs):
        seconds += time.process_time() - started
        if epoch % job.evaluate_every == 0 or epoch == job.epochs:
            embeddings = embed(network, images)
            curve.append({"epoch": epoch, **metrics(embeddings, test)})
        started = time.process_time()
    return Run(job, raw_pixels, curve, scores_before, score_histograms(embeddings, test.labels), seconds)


def fit(
    network: ConvNet, objective: Objective, split: Split, labels: Tensor, *, seed: int, epochs: int
) -> Iterator[int]:
    """Train, and yield the number of epochs done after each."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=1e-4)
    if proxies := list(objective.parameters()):
        optimizer.add_param_group({"params": proxies, "lr": PROXY_LR_FACTOR * LEARNING_RATE, "weight_decay": 0.0})
    draws = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        objective.set_epoch(epoch)
        images = split.paint(draws)  # anew in every epoch: the augmentation
        for batch in torch.randperm(len(labels), generator=draws).split(BATCH)[: len(labels) // BATCH]:
            loss = objective(network, images[batch], labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        yield epoch + 1
