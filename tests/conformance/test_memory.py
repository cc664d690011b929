"""What autograd keeps for backward, and that no matrix of all pairs is made in either direction."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from tests.conformance.large import large_problem
from tests.losses import EVERY, LOSSES, Loss

SAVED = 4  # times the size of the inputs: raw vectors, joined points, and up to 15 numbers per row beside D = 8


def bytes_of(*tensors: Tensor) -> int:
    """Each storage once."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("loss", EVERY, ids=str)
def test_bytes_saved_for_backward(loss: Loss, backend: str, dtype: torch.dtype) -> None:
    batch, classes, dim = (1024, 2048, 8)
    problem = large_problem(batch, classes, dim, dtype)
    saved: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = loss(problem, backend)
    value.sum().backward()
    taken = [getattr(problem, name) for name in (*loss.inputs, *loss.keywords.values())]
    limit = SAVED * bytes_of(*(tensor for tensor in taken if tensor is not None))
    assert saved and bytes_of(*saved) <= limit < batch * batch * dtype.itemsize / 2


PEAK = """
import resource, sys
import torch
import dmlkernels as dml
from tests.conformance.large import large_problem
from tests.losses import LOSSES

backend = sys.argv[1]
unit = 1 if sys.platform == "darwin" else 1024
batch, dim = 2048, 16

def step(loss, problem):
    value = loss(problem, backend)
    torch.autograd.grad(value, [getattr(problem, name) for name in loss.leaves])

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

for loss in LOSSES:
    step(loss, large_problem(64, 128, dim, torch.float32))
many, fewer = (large_problem(batch, classes, dim, torch.float32) for classes in (12_000, 5_000))
before = peak()
for loss in LOSSES:
    step(loss, fewer if loss.meets_itself else many)
    print(loss.name, (peak() - before) / 2**20)
"""


def test_peak_memory(backend: str) -> None:
    """MiB. The matrix of sample-proxy scores takes 94 of them, that of the field's 7,048 points 189."""
    command = [sys.executable, "-W", "ignore", "-c", PEAK, backend]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    growth = {name: float(mebibytes) for name, mebibytes in map(str.split, lines)}
    assert growth.keys() == {loss.name for loss in LOSSES}
    assert max(growth.values()) < 50, growth
