"""Choosing a backend, checking labels, and what a bug report says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import pytest
import torch

import dmlkernels as dml
from dmlkernels import __main__ as report
from dmlkernels import backends
from dmlkernels.functional.validation import should_check
from tests.conformance.spy import Spy
from tests.losses import LOSSES, PD, Loss
from tests.problem import make_problem


def backends_called(spy: Spy) -> set[str]:
    return {pairs.backend for pairs in spy.pairs}


def test_every_backend_is_available_or_says_why() -> None:
    found = dml.available_backends()
    assert list(found) == ["torch", "triton", "native"] and found["torch"]
    for availability in found.values():
        assert bool(availability) == (availability.reason == "")
        assert str(availability) == "available" or availability.reason in str(availability)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_use_backend_sets_the_default(loss: Loss, backend: str) -> None:
    problem = make_problem("plain", torch.float32)
    with Spy() as spy, dml.use_backend(backend):
        loss(problem)
    assert backends_called(spy) == {backend}


def test_use_backend_ends_with_its_block_and_yields_to_the_argument(backend: str) -> None:
    problem = make_problem("plain", torch.float32)
    with Spy() as spy:
        PD(problem)
    default = backends_called(spy)
    with pytest.raises(KeyError), dml.use_backend(backend):
        raise KeyError
    with Spy() as spy, dml.use_backend(backend):
        PD(problem, "torch")
        with dml.use_backend("auto"):
            pass
    assert backends_called(spy) == {"torch"}
    with Spy() as spy:
        PD(problem)
    assert backends_called(spy) == default


@pytest.mark.parametrize("block", [partial(dml.use_backend, "torch"), dml.validation], ids=["backend", "validation"])
def test_blocks_of_two_threads_may_overlap(block: Callable[[], AbstractContextManager[None]]) -> None:
    def state() -> tuple[str, bool]:
        return backends.resolve("auto", "cpu"), should_check("cuda", False)

    before, first, second = state(), block(), block()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    inside = state()
    second.__exit__(None, None, None)
    assert state() == before != inside


def test_use_backend_refuses() -> None:
    with pytest.raises(ValueError, match=r"^backend: got 'cpu', expected one of"), dml.use_backend("cpu"):
        pass
    for name, availability in dml.available_backends().items():
        if not availability:
            with pytest.raises(RuntimeError, match=f"backend '{name}' cannot run"), dml.use_backend(name):
                pass


def test_labels_on_a_gpu_are_read_only_when_asked_for() -> None:
    assert should_check("cpu", validate=False)
    assert not should_check("cuda", validate=False)
    assert should_check("cuda", validate=True)
    with dml.validation():
        assert should_check("cuda", validate=False)
    assert not should_check("cuda", validate=False)


def test_unchecked_labels_poison_the_loss() -> None:
    """What a GPU gives, on a CPU: nothing is read out of bounds, and the loss comes out NaN."""
    labels, proxies = torch.tensor([0, 7, -3, -100]), torch.randn(5, 4)
    for classes in (None, torch.tensor([0, 4, 4, 9, 1])):
        resolved, poison = torch.ops.dmlkernels.resolve_labels(labels, classes, 5, -100, False, True, True, 0)
        assert poison.isnan() and resolved.shape == labels.shape
        value = torch.ops.dmlkernels.pair_forward(
            torch.randn(4, 4), proxies, None, resolved, classes, None, False, False, [], [], "moments", [], "torch"
        )[0]
        assert value.isfinite().all()
    assert torch.ops.dmlkernels.resolve_labels(labels[:1], None, 5, -100, False, True, True, 0)[1] == 0


def test_bug_report(capsys: pytest.CaptureFixture[str]) -> None:
    report.main([])
    printed = capsys.readouterr().out
    for line in ("dmlkernels ", f"torch      {torch.__version__}", "python     ", "triton     ", "backends"):
        assert line in printed
    for name, availability in dml.available_backends().items():
        assert f"{name:7}  {availability}" in printed


def test_bug_report_from_the_command_line() -> None:
    command = [sys.executable, "-m", "dmlkernels"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "torch    available" in printed
