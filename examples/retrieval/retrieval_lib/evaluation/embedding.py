"""Embeddings of a list of images."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from retrieval_lib.data.dataset import ImageDataset
from retrieval_lib.data.loading import batches_of, make_loader
from retrieval_lib.data.sampling import InOrder
from retrieval_lib.data.task import Images
from retrieval_lib.data.transforms import Transform
from retrieval_lib.errors import UserError
from retrieval_lib.world import World

BATCH = 128  # images


@dataclass
class Embedded:
    """Unit embeddings of images in their order."""

    embeddings: Tensor  # (N, D) float32 on the CPU
    labels: Tensor  # (N,)


class InterruptionError(Exception):
    """The wish to stop came during an evaluation, which is then repeated after resuming."""


@torch.no_grad()
def embed(
    network: nn.Module,
    images: Images,
    transform: Transform,
    world: World,
    *,
    workers: int,
    autocast: Callable[[], AbstractContextManager],
    should_stop: Callable[[], bool] = lambda: False,
    title: str = "embedding",
) -> Embedded:
    """Every rank embeds a part of the images, in evaluation mode, and gets them all."""
    dataset = ImageDataset(images, images.labels, transform)
    loader = make_loader(
        dataset,
        InOrder(len(images), BATCH, world.rank, world.size),
        workers=workers,
        pin_memory=world.device.type == "cuda",
    )
    was_training = network.training
    network.eval()
    parts, stop = [], False
    try:
        with batches_of(loader) as batches:
            for batch, _ in tqdm(batches, title, len(loader), leave=False, disable=None if world.is_main else True):
                stop = should_stop()
                if stop:
                    break
                with autocast():
                    embedded = network(batch.to(world.device, non_blocking=True))
                parts.append(F.normalize(embedded.float()).cpu())
    finally:
        network.train(was_training)
    if world.highest(int(stop)):
        raise InterruptionError
    gathered = world.gathered(torch.cat(parts) if parts else torch.empty(0, 0))
    embeddings = torch.empty(len(images), gathered[0].shape[1])
    for rank, part in enumerate(gathered):
        if len(part):
            embeddings[rank :: world.size] = part
    broken = int((~embeddings.isfinite()).any(1).sum())
    if broken:
        raise UserError(f"{title}: {broken} of {len(images)} embeddings are not finite: the network has failed")
    return Embedded(embeddings, torch.tensor(images.labels))
