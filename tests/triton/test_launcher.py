"""Launches that are remembered are those that Triton would make."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

import dmlkernels as dml
from dmlkernels.backends.triton import labels, launcher
from dmlkernels.backends.triton.availability import interpreted
from dmlkernels.backends.triton.plan import REMEMBERED
from tests.losses import LOSSES, Loss
from tests.triton import host_time
from tests.triton.host_time import make_problem, without_driver

pytestmark = pytest.mark.skipif(interpreted(), reason="nothing is compiled")
Told = tuple[Any, ...]


def described(value: Any) -> Any:
    """What an argument is, but for where a tensor lies."""
    if isinstance(value, tuple):
        return tuple(described(one) for one in value)
    return (value.shape, value.stride(), value.dtype) if isinstance(value, Tensor) else value


def launches(loss: Loss, remembers: bool) -> list[Told]:
    """What the driver is told in the third step, by when all is compiled."""
    told: list[Told] = []

    def note(compiled: str, x: int, y: int, z: int, stream: int, function: None, packed: None, *rest: Any) -> None:
        told.append((compiled, (x, y, z), stream, function, packed, [described(value) for value in rest[3:]]))

    given = make_problem()
    with without_driver(note), mock.patch.object(launcher, "_remembers", remembers):
        for _ in range(3):
            told.clear()
            loss(given).backward()
    return told


@pytest.mark.usefixtures("tiles_only")
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_the_driver_is_told_what_triton_tells_it(loss: Loss) -> None:
    ours, tritons = launches(loss, True), launches(loss, False)
    assert len(ours) > 3
    assert ours == tritons


@pytest.mark.usefixtures("tiles_only")
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_kernels_are_launched_where_their_tensors_are(loss: Loss) -> None:
    """That is another device than the current one in a process that has several."""
    depth, outside = 0, []

    @contextmanager
    def moved(device: torch.device) -> Iterator[None]:
        nonlocal depth
        depth += 1
        yield
        depth -= 1

    def note(compiled: str, *rest: Any) -> None:
        if not depth:
            outside.append(compiled.split()[0])

    given = make_problem()
    with ExitStack() as stack:
        stack.enter_context(without_driver(note))
        for name, module in list(sys.modules.items()):
            if name.startswith("dmlkernels") and hasattr(module, "on_device"):
                stack.enter_context(mock.patch.object(module, "on_device", moved))
        for _ in range(2):  # remembered in the second
            loss(given).backward()
    assert not outside


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_a_last_partial_batch_compiles_nothing(loss: Loss) -> None:
    """Whatever its length is divisible by, which says where lies what comes behind it in memory."""
    compiled: list[set[str]] = []
    for batch in (128, 96, 127, 78, 65):
        compiled.append(set())
        with mock.patch.object(host_time, "BATCH", batch):
            given = make_problem()
        with without_driver(lambda name, *rest: compiled[-1].add(name)):
            loss(given).backward()
    whole, *others = compiled
    assert whole and all(other <= whole for other in others)


def test_arguments_of_another_kind_are_compiled_for() -> None:
    """Unaligned labels, of which one count is 1, and back."""
    aligned, unaligned = torch.arange(9)[:8], torch.arange(9)[1:]
    asked = [(aligned, 20), (unaligned, 20), (aligned[:1], 20), (aligned.int(), 20), (aligned, 20), (unaligned, 20)]

    def compiled(remembers: bool) -> list[str]:
        told: list[str] = []
        with (
            without_driver(lambda name, *rest: told.append(name)),
            mock.patch.object(launcher, "_remembers", remembers),
        ):
            for _ in range(2):
                for given, classes in asked:
                    labels.resolve(given, None, classes, -100, 0)
        return told

    ours = compiled(True)
    assert ours == compiled(False)
    assert len(set(ours)) == 3, "the number of labels is not compiled for"


def test_other_constants_are_compiled_for() -> None:
    told: list[str] = []
    given = torch.arange(8)
    with without_driver(lambda name, *rest: told.append(name)):
        for joined in (0, 1, 0, 1):
            labels.resolve(given, None, 20, -100, joined)
    assert told[0] == told[2] != told[1] == told[3]


@pytest.mark.usefixtures("tiles_only")
@pytest.mark.parametrize("changes", ["batch", "margin"])
def test_what_is_remembered_does_not_grow(changes: str) -> None:
    """With more shapes or numbers than plans are kept for, again and again: a plan made anew has the constants of the
    one before."""
    x, p = (torch.randn(count, 8).requires_grad_() for count in (REMEMBERED + 20, 4))
    labels, known = torch.randint(4, (len(x),)), []
    with without_driver():
        for _ in range(3):
            for k in range(10, REMEMBERED + 20):
                batch, margin = (k, 0.1) if changes == "batch" else (10, k / 1000)
                dml.cosface_loss(x[:batch], labels[:batch], p, margin=margin, backend="triton").backward()
            known.append(len(launcher._compiled))
    assert known[0] < 40 and len(set(known)) == 1
