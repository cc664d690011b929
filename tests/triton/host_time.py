"""``python -m tests.triton.host_time``: what a step costs the host, in microseconds a loss, without a GPU.

A benchmark, not a test. CPU tensors stand in for those of a GPU and take its code. A launch of a kernel costs what
Triton does for it in Python, the driver's call nothing; operations of PyTorch cost what they do for a few numbers on a
CPU. Compare two checkouts by running it in each by turns.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from dmlkernels.backends.blocked import host
from dmlkernels.functional import decidability, field, inputs
from tests import problem
from tests.losses import LOSSES, Loss
from tests.triton.counting import pretended_gpu

BATCH, CLASSES, DIM, ATOMS = 128, 100, 64, 64
WARM_UP, STEPS = 8, 60

RUN = JITFunction.run
DRIVER = SimpleNamespace(
    get_current_device=lambda: 0, get_current_stream=lambda device: 0,
    get_current_target=lambda: GPUTarget("cuda", 90, 32),
)  # fmt: skip
KERNEL = SimpleNamespace(
    launch_metadata=lambda *args: None, run=lambda *args: None, function=None, packed_metadata=None
)


def compile_nothing(self: JITFunction[Any], key: str, signature: Any, device: int, *args: Any) -> SimpleNamespace:
    """In place of JITFunction._do_compile."""
    _ = self.cache_key  # finds the globals that each launch compares
    self.device_caches[device][0][key] = KERNEL
    return KERNEL


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
    for _ in range(WARM_UP + STEPS):
        start = time.perf_counter()
        loss(given).backward()
        times.append(time.perf_counter() - start)
    return sorted(times[WARM_UP:])[STEPS // 4] * 1e6


def main() -> None:
    torch.set_num_threads(1)
    given = make_problem()
    with ExitStack() as stack:
        stack.enter_context(pretended_gpu(lambda name: None))
        stack.enter_context(mock.patch.multiple(JITFunction, run=RUN, _do_compile=compile_nothing))
        driver.set_active(DRIVER)
        stack.enter_context(mock.patch.object(host, "readable", return_value=False))
        for module in (inputs, decidability, field):
            stack.enter_context(mock.patch.object(module, "should_check", return_value=False))
        found = {loss.name: round(measure(loss, given)) for loss in LOSSES}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
