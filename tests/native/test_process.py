"""What a process around the engine sees: interrupts, errors, other threads."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
import torch

from dmlkernels.backends import native
from dmlkernels.backends.native import module
from dmlkernels.ops import pair_statistics
from dmlkernels.statistics import Field, LogSumExp, Moments

pytestmark = pytest.mark.skipif(
    native.unavailable_reason() is not None, reason=native.unavailable_reason() or "the native module is here"
)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_an_interrupt_is_not_lost(direction: str) -> None:
    """The work takes seconds; the interrupt comes in its midst and ends it."""
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


def test_python_runs_meanwhile() -> None:
    """The engine lets go of the interpreter's lock: a sleeping thread wakes many times while one call runs."""
    ticks: list[float] = []
    done = threading.Event()

    def tick() -> None:
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(1e-3)

    tile = module.compiled.Tile()
    units = torch.randn(4096, 512)
    states = torch.full((4096, 2), -torch.inf, dtype=torch.float64)
    labels = torch.arange(4096)
    tile.dim, tile.width, tile.threads = 512, 2, 1
    tile.rows.size = tile.columns.size = 4096
    tile.rows.units = tile.columns.units = units.data_ptr()
    tile.rows.labels = tile.columns.labels = labels.data_ptr()
    tile.rows.states = states.data_ptr()
    term = module.compiled.Term()
    term.kind, term.parameters = module.compiled.Kind.logsumexp, [1.0, 1.0, 0.0, 0.0, 0.0]
    tile.set_terms([term])
    thread = threading.Thread(target=tick)
    thread.start()
    try:
        start = time.perf_counter()
        module.compiled.kernels()[-1].fold(tile, module.compiled.Workspace())
        stop = time.perf_counter()
    finally:
        done.set()
        thread.join()
    assert sum(start < moment < stop for moment in ticks) >= 2


def test_errors_of_the_engine_are_python_errors() -> None:
    tile = module.compiled.Tile()
    with pytest.raises(ValueError, match="three terms"):
        tile.set_terms([module.compiled.Term()] * 4)
    tile.dim, tile.rows.size, tile.columns.size = 1, 1, 2**56
    tile.set_terms([module.compiled.Term()])
    with pytest.raises(MemoryError):
        module.compiled.kernels()[0].fold(tile, module.compiled.Workspace())


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
