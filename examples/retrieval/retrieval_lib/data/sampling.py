"""Which images make the batches of an epoch: a function of the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pytorch_metric_learning.samplers import MPerClassSampler
from torch.utils.data import RandomSampler, Sampler

from retrieval_lib.data.dataset import Key
from retrieval_lib.errors import ConfigError
from retrieval_lib.randomness import derived_seed, seeded_globals


class Batches(Sampler[list[Key]]):
    """The batches of one epoch after another, for one rank.

    Every rank takes its part of the same global batch, so that training does not depend on how many ranks there are.

    Args:
        labels: of the training images.
        batch_size: of all ranks together.
        images_per_class: in a batch; None for plain shuffling.
        seed: of the run.
        rank, world_size: which part of a batch to return.
    """

    def __init__(
        self,
        labels: list[int],
        batch_size: int,
        images_per_class: int | None,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size > len(labels):
            raise ConfigError(f"batch size: got {batch_size}, expected at most the {len(labels)} training images")
        if batch_size % world_size:
            raise ConfigError(f"batch size: got {batch_size}, expected a multiple of the {world_size} ranks")
        if images_per_class is not None:
            if batch_size % images_per_class:
                raise ConfigError(
                    f"batch size: got {batch_size}, expected a multiple of data.images_per_class = {images_per_class}"
                )
            if batch_size > images_per_class * len(set(labels)):
                raise ConfigError(
                    f"data.images_per_class: {images_per_class} of {len(set(labels))} classes do not fill a batch of "
                    f"{batch_size}"
                )
        self.labels, self.batch_size, self.images_per_class = labels, batch_size, images_per_class
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.epoch, self.first = 0, 0

    def start_at(self, epoch: int, step: int = 0) -> None:
        """Which batches the next iteration returns: those of an epoch from a step on."""
        self.epoch, self.first = epoch, step

    @property
    def steps(self) -> int:
        """Batches of a whole epoch; an incomplete one at its end is left out."""
        return len(self.labels) // self.batch_size

    def __len__(self) -> int:
        return self.steps - self.first

    def __iter__(self) -> Iterator[list[Key]]:
        order = self._order()
        part = self.batch_size // self.world_size
        for step in range(self.first, self.steps):
            start = step * self.batch_size + self.rank * part
            yield [(order[i], derived_seed(self.seed, self.epoch, i)) for i in range(start, start + part)]

    def _order(self) -> list[int]:
        with seeded_globals(derived_seed(self.seed, self.epoch)):
            if self.images_per_class is None:
                return list(RandomSampler(range(len(self.labels))))
            return list(
                MPerClassSampler(np.array(self.labels), self.images_per_class, self.batch_size, len(self.labels))
            )


class InOrder(Sampler[list[Key]]):
    """Every ``world_size``-th image once, from that of ``rank`` on, for evaluation."""

    def __init__(self, length: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.indices, self.batch_size = range(rank, length, world_size), batch_size

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        for start in range(0, len(self.indices), self.batch_size):
            yield [(index, 0) for index in self.indices[start : start + self.batch_size]]
