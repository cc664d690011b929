"""Time and memory of one step of a loss as the number of classes grows, beside plain PyTorch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

import dmlkernels as dml

CLASSES = (1_000, 10_000, 100_000)
BATCH, DIM, SCALE = 256, 128, 20.0
REPEATS = 5


def plain_softmax(embeddings: Tensor, labels: Tensor, proxies: Tensor) -> Tensor:
    return F.cross_entropy(SCALE * F.normalize(embeddings) @ F.normalize(proxies).T, labels)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "PD-Loss": dml.pd_loss,
    "normalised softmax": lambda x, y, p: dml.normalized_softmax_loss(x, y, p, scale=SCALE),
    "softmax in plain PyTorch": plain_softmax,
}


@dataclass
class Growth:
    """A loss at one number of classes."""

    loss: str
    classes: int
    saved: int  # bytes that autograd keeps from forward to backward, beyond the inputs
    seconds: float  # forward and backward, median


def measure(classes: tuple[int, ...] = CLASSES) -> list[Growth]:
    """Measure every loss, interleaved, on one thread."""
    found = []
    for count in classes:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(BATCH, DIM, generator=generator, requires_grad=True)
        p = torch.randn(count, DIM, generator=generator, requires_grad=True)
        y = torch.randint(count, (BATCH,), generator=generator)
        times: dict[str, list[float]] = {name: [] for name in LOSSES}
        for _ in range(REPEATS + 1):
            for name, loss in LOSSES.items():
                started = time.perf_counter()
                loss(x, y, p).backward()
                times[name].append(time.perf_counter() - started)
        found += [
            Growth(name, count, saved_bytes(loss, x, y, p), statistics.median(times[name][1:]))
            for name, loss in LOSSES.items()
        ]
    return found


def saved_bytes(loss: Callable[..., Tensor], *inputs: Tensor) -> int:
    """Bytes of the distinct storages that autograd saves, inputs apart."""
    known = {tensor.untyped_storage().data_ptr() for tensor in inputs}
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss(*inputs)
    return sum(sizes.values())
