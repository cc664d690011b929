"""One training run, from a job that says what to train to numbers that can be stored as JSON."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from digits_lib.data import Split, instances, with_noise
from digits_lib.evaluation import embed, metrics, score_histograms
from digits_lib.network import ConvNet
from digits_lib.objectives import CATALOGUE, EMBEDDING_SIZE, Objective

LEARNING_RATE = 4e-3  # of the network and of the proxies, which start at class means
BATCH = 100
TEST_SEED = 1_000_000  # beyond the seeds of training


@dataclass(frozen=True)
class Job:
    """What to train."""

    loss: str  # a key of CATALOGUE
    seed: int
    epochs: int
    batch: int = BATCH
    noise: float = 0.0  # share of flipped training labels
    background: str = "black"  # see Split


@dataclass
class Run:
    """What came out of a job; all metrics are those of the unseen classes."""

    job: Job
    raw_pixels: dict[str, float]  # metrics without any network
    before: dict[str, float]
    after: dict[str, float]
    scores_before: dict[str, list[float]]
    scores_after: dict[str, list[float]]
    seconds: float  # CPU time of training


def run(job: Job) -> Run:
    """Train and evaluate. Jobs of equal seed start from equal networks and see equal views."""
    train, test = instances(job.seed, job.background)
    start, (images, textures) = starting_point(job.seed, job.background), unseen_views(test, job.seed)
    labels = with_noise(train.labels, job.noise, job.seed)
    network = network_of(job.seed)
    objective = CATALOGUE[job.loss].make()
    training_views(train, job.seed, job.epochs)  # shared with other jobs, so in nobody's time
    started = time.process_time()
    for _ in fit(network, objective, train, labels, job):
        pass
    seconds = time.process_time() - started
    embeddings = embed(network, images)
    after, scores_after = metrics(embeddings, test.labels, textures), score_histograms(embeddings, test.labels)
    return Run(job, start.raw_pixels, start.before, after, start.scores, scores_after, seconds)


class Start(NamedTuple):
    """Metrics of the unseen classes without training."""

    raw_pixels: dict[str, float]
    before: dict[str, float]
    scores: dict[str, list[float]]


@cache
def starting_point(seed: int, background: str) -> Start:
    """Evaluate raw pixels and the untrained network, once for all losses."""
    _, test = instances(seed, background)
    images, textures = unseen_views(test, seed)
    embeddings = embed(network_of(seed), images)
    return Start(
        metrics(images.flatten(1), test.labels, textures),
        metrics(embeddings, test.labels, textures),
        score_histograms(embeddings, test.labels),
    )


def network_of(seed: int) -> ConvNet:
    """The untrained network; the objective draws its random numbers after it."""
    torch.manual_seed(seed)
    return ConvNet(EMBEDDING_SIZE)


def unseen_views(test: Split, seed: int) -> tuple[Tensor, Tensor]:
    return test.views(torch.Generator().manual_seed(TEST_SEED + seed))


def fit(network: ConvNet, objective: Objective, split: Split, labels: Tensor, job: Job) -> Iterator[int]:
    """Train, and yield the number of epochs done after each."""
    first, augmented = training_views(split, job.seed, job.epochs)
    objective.loss.init_proxies_from(embed(network, first), labels)
    groups = [{"params": network.parameters()}, *objective.loss.param_groups(LEARNING_RATE, proxy_lr_factor=1)]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, weight_decay=1e-4, fused=True)
    steps = job.epochs * (len(labels) // job.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.2)
    for epoch, (images, order) in enumerate(augmented):
        objective.set_epoch(epoch)
        for batch in order.split(job.batch)[: len(labels) // job.batch]:
            if len(labels[batch].unique()) < len(batch):  # else D-Loss has no pair of one class
                loss = objective(network, images[batch], labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            schedule.step()
        yield epoch + 1


@lru_cache(maxsize=1)  # the jobs of a seed follow each other
def training_views(split: Split, seed: int, epochs: int) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Views for the proxies to start from, and for each epoch other views and the order in which they are seen."""
    draws = torch.Generator().manual_seed(seed)
    first = split.views(draws)[0]
    return first, [(split.views(draws)[0], torch.randperm(len(split.labels), generator=draws)) for _ in range(epochs)]
