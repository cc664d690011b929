"""Data loaders whose workers leave signals to the main process and draw nothing from its generators."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
        worker_init_fn=_ignore_signals,
        generator=torch.Generator(),  # else starting an epoch would draw from the global one
        persistent_workers=False,
    )


@contextmanager
def batches_of(loader: DataLoader) -> Iterator[Iterator[list[Tensor]]]:
    """The batches, within a block that ends the workers however it is left.

    Python would end them by SIGTERM at its exit, and wait: for ever, as they ignore it.
    """
    batches = iter(loader)
    try:
        yield batches
    finally:
        if loader.num_workers:
            batches._shutdown_workers()


def _ignore_signals(_: Any) -> None:
    """Ctrl-C and schedulers signal the whole process group; the main process alone decides when to stop."""
    torch.set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
