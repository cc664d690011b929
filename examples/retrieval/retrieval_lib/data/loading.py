"""Data loaders whose workers leave signals to the main process and draw nothing from its generators."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from retrieval_lib.data.dataset import ImageDataset


def make_loader(dataset: ImageDataset, batches: Sampler, *, workers: int, pin_memory: bool) -> DataLoader:
    """Batches of images and labels."""
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # else starting an epoch would draw from the global one
    )


@contextmanager
def batches_of(loader: DataLoader) -> Iterator[Iterator[list[Tensor]]]:
    """The batches, within a block that ends the workers however it is left.

    Ctrl-C and schedulers signal the whole process group, and the main process alone decides when to stop: the workers
    are born with the signals blocked. Python's exit would end them by SIGTERM, and wait for ever.
    """
    with _signals_blocked():
        batches = iter(loader)
    try:
        yield batches
    finally:
        if loader.num_workers:
            batches._shutdown_workers()


@contextmanager
def _signals_blocked() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
