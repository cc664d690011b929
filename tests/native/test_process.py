"""What a process around the engine sees: interrupts, errors, other threads."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
import torch

from dmlkernels.backends import native
from dmlkernels.backends.blocked import plan
from dmlkernels.backends.native import engine, module
from dmlkernels.backends.pairs import Pairs
from dmlkernels.ops import pair_statistics
from dmlkernels.statistics import Field, LogSumExp, Moments

pytestmark = pytest.mark.skipif(
    native.unavailable_reason() is not None, reason=native.unavailable_reason() or "the native module is here"
)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_an_interrupt_is_not_lost(direction: str) -> None:
    """The work takes seconds; the interrupt comes in the middle and ends it."""
    script = f"""
import os, signal, threading, time
import torch
from dmlkernels.ops import pair_statistics
from dmlkernels.statistics import LogSumExp
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job starts with it ignored
x, w, labels = torch.randn(2048, 256, requires_grad=True), torch.randn(20000, 256), torch.arange(2048)

def forward():
    return pair_statistics(LogSumExp(4.0, 4.0), x, w, backend="native", row_labels=labels).sum()

loss = forward()
work = forward if {direction!r} == "forward" else lambda: loss.backward(retain_graph=True)
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    while True:
        work()
except KeyboardInterrupt:
    print("interrupted")
"""
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=120)
    assert run.stdout == "interrupted\n"


def test_python_runs_meanwhile(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    """The engine lets go of the interpreter's lock: a sleeping thread wakes many times while one call runs."""
    ticks: list[float] = []
    done = threading.Event()

    def tick() -> None:
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(1e-3)

    pairs = Pairs(LogSumExp(1.0, 1.0), torch.randn(4096, 512), torch.randn(4096, 512), torch.arange(4096))
    monkeypatch.setattr(module, "kernels", lambda: module.compiled.kernels()[-1])
    monkeypatch.setattr(plan, "BLOCK_ROWS", 4096)
    monkeypatch.setattr(plan, "TILE_ELEMENTS", 4096**2)  # one tile: between two the engine takes the lock for a moment
    torch.set_num_threads(1)
    thread = threading.Thread(target=tick)
    thread.start()
    try:
        start = time.perf_counter()
        engine.forward(pairs)
        stop = time.perf_counter()
    finally:
        done.set()
        thread.join()
    assert sum(start < moment < stop for moment in ticks) >= 2


def test_errors_of_the_engine_are_python_errors() -> None:
    """Vectors of so many values that no memory can hold one."""
    problem = module.compiled.Problem()
    problem.rows.size = problem.columns.size = problem.block_rows = problem.block_labels = 1
    problem.dim = 2**57
    problem.terms = [[module.compiled.Term()]]
    with pytest.raises(MemoryError):
        module.kernels().forward(problem)


def test_calls_from_several_threads_at_once() -> None:
    x, labels = torch.randn(300, 40), torch.arange(300) % 7
    expected = pair_statistics(Moments(), x, backend="native", row_labels=labels, within=True)
    found: list[torch.Tensor] = []

    def work() -> None:
        for _ in range(5):
            found.append(pair_statistics(Moments(), x, backend="native", row_labels=labels, within=True))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 20
    assert all(torch.equal(each, expected) for each in found)


def test_inputs_are_not_changed() -> None:
    x, labels = torch.randn(70, 9), torch.arange(70) % 3
    before = x.clone()
    x.requires_grad_()
    pair_statistics(
        Field(3.0, 0.2, 0.2, 1e-2, 1.0), x, backend="native", row_labels=labels, within=True
    ).sum().backward()
    pair_statistics(LogSumExp(2.0, 2.0), x, x.detach(), backend="native", row_labels=labels, column_labels=labels)
    assert torch.equal(x.detach(), before)


@pytest.mark.skipif(sys.platform != "linux", reason="counts page faults of Linux")
@pytest.mark.parametrize("before", [1, 30_000, 70_000])
def test_memory_stays_for_the_next_call(before: int) -> None:
    """Whatever lies in the heap before it. A small batch takes some 430 pages; a fault for each takes longer than they
    are used."""
    script = f"""
import resource
import torch
from dmlkernels import normalized_softmax_loss

def faults(steps):
    start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        x.grad = w.grad = None
        normalized_softmax_loss(x, labels, w, backend="native").backward()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start) / steps

torch.set_num_threads(2)
x, w = torch.randn(128, 512, requires_grad=True), torch.randn(100, 512, requires_grad=True)
labels, more = torch.randint(100, (128,)), torch.randn({before})
faults(50)
print(faults(100))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert float(done.stdout) < 50
