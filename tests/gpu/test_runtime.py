"""CUDA graphs, torch.compile, streams, no synchronisation, large problems and memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import dmlkernels as dml
from dmlkernels.backends.pairs import Pairs
from dmlkernels.statistics import LogSumExp
from tests.losses import LOSSES, Loss
from tests.problem import Problem, make_problem
from tests.triton.common import outcome

every_loss = pytest.mark.parametrize("loss", LOSSES, ids=str)


def _on_device(loss: Loss) -> Problem:
    problem = make_problem("exact_tiles", torch.float32)
    moved = {name: value.detach().cuda() for name, value in vars(problem).items() if isinstance(value, Tensor)}
    for name in loss.leaves:
        moved[name].requires_grad_()
    return Problem(**{**vars(problem), **moved})


def _step(loss: Loss, problem: Problem) -> tuple[Tensor, ...]:
    leaves = [getattr(problem, name) for name in loss.leaves]
    value = loss(problem, "triton")
    return value, *torch.autograd.grad(value, leaves)


@every_loss
def test_auto_is_triton(loss: Loss) -> None:
    problem = _on_device(loss)
    for one, other in zip(_step(loss, problem), _step(loss, problem), strict=True):
        assert torch.equal(one, other)
    assert dml.available_backends()["triton"]


@every_loss
def test_graph_capture_and_replay(loss: Loss) -> None:
    problem = _on_device(loss)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            eager = _step(loss, problem)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = _step(loss, problem)
    with torch.no_grad():
        problem.embeddings.mul_(-1)
    graph.replay()
    torch.cuda.synchronize()
    again = _step(loss, problem)
    for one, other in zip(captured, again, strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(eager[1], again[1])


@every_loss
def test_host_never_waits(loss: Loss) -> None:
    problem = _on_device(loss)
    _step(loss, problem)
    torch.cuda.set_sync_debug_mode("error")
    try:
        _step(loss, problem)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@every_loss
def test_compile_fullgraph(loss: Loss) -> None:
    problem = _on_device(loss)
    compiled = torch.compile(lambda: loss(problem, "triton"), fullgraph=True)
    leaves = [getattr(problem, name) for name in loss.leaves]
    value = compiled()
    expected = _step(loss, problem)
    torch.testing.assert_close((value, *torch.autograd.grad(value, leaves)), expected, rtol=1e-5, atol=1e-6)


def test_streams() -> None:
    loss = LOSSES[0]
    problem = _on_device(loss)
    expected = _step(loss, problem)
    torch.cuda.synchronize()
    streams = [torch.cuda.Stream() for _ in range(4)]
    found = []
    for stream in streams * 5:
        with torch.cuda.stream(stream):
            found.append(_step(loss, problem))
    torch.cuda.synchronize()
    for step in found:
        assert all(torch.equal(one, other) for one, other in zip(step, expected, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_two_million_columns(dtype: torch.dtype) -> None:
    """More than 2^31 bytes of columns, a score matrix of 4 GiB that never is, and memory that shows it."""
    rows, columns, dim = 512, 2_000_000, 1088  # C x D beyond 2^31
    x, w = torch.randn(rows, dim, device="cuda", dtype=dtype), torch.randn(columns, dim, device="cuda", dtype=dtype)
    labels = torch.randint(0, columns, (rows,), device="cuda")
    labels[-1] = columns - 1
    pairs = Pairs(LogSumExp(18.0, 18.0), x, w, labels)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    found = outcome("triton", pairs, torch.ones(rows, 2, device="cuda"))
    peak = torch.cuda.max_memory_allocated() - before
    gradients = w.numel() * w.element_size() + x.numel() * x.element_size()
    assert peak <= 1.1 * gradients + 4 * (rows + columns) * 16 + 2**26
    unit = torch.nn.functional.normalize(x.float(), dim=1)
    own = (unit * torch.nn.functional.normalize(w[labels].float(), dim=1)).sum(1)
    torch.testing.assert_close(found.statistics[:, 0], 18 * own, rtol=1e-4, atol=1e-3)
    assert found.columns is not None and found.columns[-1].any()
