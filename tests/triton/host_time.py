"""``python -m tests.triton.host_time``: what a step costs the host, in microseconds a loss, without a GPU.

A benchmark, not a test. CPU tensors stand in for those of a GPU and take its code. A launch of a kernel costs what
Triton does for it in Python, the driver's call nothing; operations of PyTorch cost what they do for a few numbers on a
CPU. Compare two checkouts by running it in each by turns.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import CompiledKernel
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from dmlkernels.backends.blocked import host
from dmlkernels.backends.triton import launcher
from dmlkernels.functional import inputs, sample_labels
from tests import problem
from tests.losses import LOSSES, Loss
from tests.triton.compiling import jit_functions
from tests.triton.counting import pretended_gpu

BATCH, CLASSES, DIM, ATOMS = 128, 100, 64, 64
WARM_UP, STEPS = 8, 60

RUN = JITFunction.run
DRIVER = SimpleNamespace(
    get_current_device=lambda: 0, get_current_stream=lambda device: 0,
    get_current_target=lambda: GPUTarget("cuda", 90, 32),
)  # fmt: skip


class _Kernel(CompiledKernel):
    """As if compiled; ``run`` is told what the driver would be."""

    def __init__(self, run: Callable[..., None]) -> None:
        self.module, self.function, self.packed_metadata, self.name, self.src, self._run = *(None,) * 3, "", None, run

    def _init_handles(self) -> None:
        """Load nothing."""


@contextmanager
def without_driver(launched: Callable[..., None] = lambda *args: None) -> Iterator[None]:
    """Have CPU tensors take a GPU's way in a block, up to the driver: ``launched`` gets a name of what Triton would
    have compiled, and all that the launch is told."""

    def compile_nothing(self: JITFunction[Any], key: str, signature: Any, device: int, *args: Any) -> CompiledKernel:
        _ = self.cache_key  # finds the globals that each launch compares
        kernel = self.device_caches[device][0][key] = _Kernel(partial(launched, f"{self.__name__} {key}"))
        return kernel

    with ExitStack() as stack:
        stack.enter_context(pretended_gpu(lambda name: None))
        stack.enter_context(mock.patch.multiple(JITFunction, run=RUN, _do_compile=compile_nothing))
        stack.enter_context(mock.patch.multiple(launcher, _remembers=True, _compiled={}))
        stack.enter_context(mock.patch.object(driver, "_active", DRIVER))
        stack.enter_context(mock.patch.object(host, "readable", return_value=False))
        for module in (inputs, sample_labels):
            stack.enter_context(mock.patch.object(module, "should_check", return_value=False))
        try:
            yield
        finally:
            for function in jit_functions():
                function.device_caches.clear()


def make_problem() -> problem.Problem:
    generator = torch.Generator().manual_seed(0)

    def normal(count: int) -> Tensor:
        return torch.randn(count, DIM, generator=generator).requires_grad_()

    return replace(
        problem.make_problem("plain", torch.float32),
        embeddings=normal(BATCH),
        intervened=normal(BATCH),
        labels=torch.randint(CLASSES, (BATCH,), generator=generator),
        proxies=normal(CLASSES),
        centers=normal(problem.CENTERS_PER_CLASS * CLASSES),
        atoms=normal(ATOMS).detach(),
    )


def measure(loss: Loss, given: problem.Problem) -> float:
    """Lower quartile of many steps."""
    times = []
    leaves = [value for value in vars(given).values() if isinstance(value, Tensor) and value.requires_grad]
    for _ in range(WARM_UP + STEPS):
        for leaf in leaves:  # whose gradients would be added up: memory that nobody wrote, of any numbers
            leaf.grad = None
        start = time.perf_counter()
        loss(given).backward()
        times.append(time.perf_counter() - start)
    return sorted(times[WARM_UP:])[STEPS // 4] * 1e6


def main() -> None:
    torch.set_num_threads(1)
    given = make_problem()
    with without_driver():
        found = {loss.name: round(measure(loss, given)) for loss in LOSSES}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
