"""``python -m tests.triton.host_time``: what a step costs the host, in microseconds a loss, with launches stubbed out.

A benchmark, not a test. CPU tensors stand in for those of a GPU and take its code; kernels of this package cost
nothing, operations of PyTorch what they cost for a few numbers on a CPU. Compare two checkouts by running it in
each by turns.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from unittest import mock

import torch
from torch import Tensor

from dmlkernels.backends.blocked import host
from dmlkernels.functional import decidability, field, inputs
from tests import problem
from tests.losses import LOSSES, Loss
from tests.triton.counting import pretended_gpu

BATCH, CLASSES, DIM, ATOMS = 128, 100, 64, 64
WARM_UP, STEPS = 8, 60


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
        stack.enter_context(mock.patch.object(host, "readable", return_value=False))
        for module in (inputs, decidability, field):
            stack.enter_context(mock.patch.object(module, "should_check", return_value=False))
        found = {loss.name: round(measure(loss, given)) for loss in LOSSES}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
