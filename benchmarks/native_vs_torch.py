"""The native engine against the torch backend, forward and backward, in turns: python -m benchmarks.native_vs_torch.

With one thread it reads the thread's processor time, which other programs on the machine disturb little; with more, the
wall clock.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from unittest import mock

import torch
from torch import Tensor

import dmlkernels as dml
from dmlkernels.backends import blocked

SHAPES = ((128, 100, 512), (512, 11318, 512), (1024, 100_000, 128))
POINTS = ((1600, 512), (22_736, 512))
BACKENDS = ("torch", "native")
Loss = Callable[..., Tensor]


def proxy_losses(batch: int, num_proxies: int, dim: int) -> tuple[tuple[Tensor, ...], dict[str, Loss]]:
    x, p, labels = torch.randn(batch, dim), torch.randn(num_proxies, dim), torch.randint(0, num_proxies, (batch,))
    other = x + 0.1 * torch.randn_like(x)
    return (x, p), {
        "pd": lambda x, p, **options: dml.pd_loss(x, labels, p, **options),
        "pd, tiles": lambda x, p, **options: dml.pd_loss(x, labels, p, **options),
        "softmax": lambda x, p, **options: dml.normalized_softmax_loss(x, labels, p, **options),
        "proxy anchor": lambda x, p, **options: dml.proxy_anchor_loss(x, labels, p, **options),
        "symmetric KL": lambda x, p, **options: dml.symmetric_kl_loss(
            x, other, p, temperature=0.1, detach_proxies=False, **options
        ),
    }


def field_losses(points: int, dim: int) -> tuple[tuple[Tensor, ...], dict[str, Loss]]:
    """Clusters as halfway through training: same-class pairs pull, few others push."""
    labels = torch.arange(points) % 100
    x = torch.randn(points, dim) + 3 * torch.randn(100, dim)[labels]
    return (x,), {"field": lambda x, **options: dml.potential_field_loss(x, labels, **options)}


def compare(loss: Loss, inputs: tuple[Tensor, ...], clock: Callable[[], float], seconds: float) -> dict[str, float]:
    """Median milliseconds of each backend, after one unmeasured round."""
    times: dict[str, list[float]] = {backend: [] for backend in BACKENDS}
    began = time.perf_counter()
    while min(map(len, times.values())) < 4 or time.perf_counter() - began < seconds:
        for backend in BACKENDS:
            leaves = [x.clone().requires_grad_() for x in inputs]
            start = clock()
            loss(*leaves, backend=backend).backward()
            times[backend].append(clock() - start)
    return {backend: 1e3 * statistics.median(each[1:]) for backend, each in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each line, at least")
    parser.add_argument("--small", action="store_true", help="leave out what takes minutes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    clock = time.thread_time if options.threads == 1 else time.perf_counter
    print(f"| loss | shape | torch (ms) | native (ms) | ratio |\n| --- | --- | {'---: | ' * 3}".rstrip())
    for shape in (*SHAPES, *POINTS):
        if options.small and max(shape) > 20_000:
            continue
        inputs, losses = proxy_losses(*shape) if len(shape) == 3 else field_losses(*shape)
        for name, loss in losses.items():
            tiles: AbstractContextManager[object] = nullcontext()
            if name.endswith("tiles"):
                tiles = mock.patch.object(blocked, "prefers_closed_form", return_value=False)
            with tiles:
                found = compare(loss, inputs, clock, options.seconds)
            columns = (name, " x ".join(map(str, shape)), *(f"{found[backend]:.2f}" for backend in BACKENDS))
            print(f"| {' | '.join(columns)} | {found['torch'] / found['native']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
