"""Compile what is going to be measured, in several processes at once: kernels are kept on disk and found again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor

import torch

from benchmarks.harness.precision import products_in
from benchmarks.harness.steps import BOTH
from benchmarks.problems.inputs import Case
from benchmarks.problems.variants import make_step

Asked = tuple[Case, str, Sequence[str]]  # with how products are rounded, and the variants


def warm(asked: Iterable[Asked], seconds: float) -> list[str]:
    """Take every step once, starting none after so long. Returns what went wrong; the measurement will say it again."""
    deadline = time.monotonic() + seconds
    tasks = [(*one, deadline) for one in asked]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=torch.multiprocessing.get_context("spawn")) as pool:
        return [said for said in pool.map(_once, tasks) if said]


def _once(task: tuple[Case, str, Sequence[str], float]) -> str:
    case, precision, names, deadline = task
    torch.set_num_threads(1)
    said = []
    for name in names:
        if time.monotonic() > deadline:
            return "; ".join([*said, "out of time"])
        try:
            with products_in(precision, case.device):
                make_step(case, name).run(BOTH)
        except Exception as error:
            said.append(f"{case.loss}, {case.shape.name}, {case.dtype}, {name}: {type(error).__name__}: {error}"[:300])
        torch.cuda.empty_cache()
    return "; ".join(said)
