"""CUDA graphs, torch.compile, streams, no synchronisation, large problems and memory."""

from __future__ import annotations

import pytest
import torch

import dmlkernels as dml
from tests.gpu import checks
from tests.losses import LOSSES, Loss

every_loss = pytest.mark.parametrize("loss", LOSSES, ids=str)


@every_loss
def test_steps_repeat(loss: Loss) -> None:
    problem = checks.exact_tiles(loss)
    for one, other in zip(checks.step(loss, problem), checks.step(loss, problem), strict=True):
        assert torch.equal(one, other)
    assert dml.available_backends()["triton"]


@every_loss
def test_graph_capture_and_replay(loss: Loss) -> None:
    checks.graph_capture_and_replay(loss)


@every_loss
def test_host_never_waits(loss: Loss) -> None:
    checks.host_never_waits(loss)


@every_loss
def test_compile_fullgraph(loss: Loss) -> None:
    checks.compiles_into_one_graph(loss)


def test_streams() -> None:
    loss = LOSSES[0]
    problem = checks.exact_tiles(loss)
    expected = checks.step(loss, problem)
    torch.cuda.synchronize()
    streams = [torch.cuda.Stream() for _ in range(4)]
    found = []
    for stream in streams * 5:
        with torch.cuda.stream(stream):
            found.append(checks.step(loss, problem))
    torch.cuda.synchronize()
    for step in found:
        assert all(torch.equal(one, other) for one, other in zip(step, expected, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_two_million_columns(dtype: torch.dtype) -> None:
    checks.two_million_columns(dtype)
