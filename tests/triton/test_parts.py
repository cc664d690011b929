"""Backward of float32 as sums of halves. Interpreted, parts that are added up are float32: its bfloat16 is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from dmlkernels.backends.triton import parts, schedule
from dmlkernels.backends.triton.availability import interpreted
from dmlkernels.backends.triton.kernels.parts import Parts
from dmlkernels.backends.triton.plan import Work
from dmlkernels.backends.triton.tiles import Tiles
from dmlkernels.statistics import IGNORED, Divergence, LogSumExp, Moments, SoftTriple, Square, Statistic
from tests.triton.common import DEVICE, Maker, assert_agrees, outcome, upstream

STATISTICS = (LogSumExp(-3.0, 18.3), Moments(), Square(), Divergence(12.3, 1.0), SoftTriple(5.0, 0.3, 3))
ROWS, COLUMNS = 45, 99
pytestmark = pytest.mark.usefixtures("tiles_only")


@pytest.fixture(params=[1, 2], ids=["a slice", "slices"])
def _parts(request: Any, scheduled: Callable[[str, Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    work = schedule.backward_work
    size = 16 if interpreted() else 64
    block = 4 * size
    tiles = Tiles(size, size, block, block // request.param, 4, 1)

    def in_parts(*args: Any) -> Work:
        return work(*args)._replace(parts=Parts(2, 3))

    scheduled("backward_work", in_parts)
    scheduled("backward_tiles", lambda *args: tiles)
    if interpreted():
        monkeypatch.setattr(parts, "ADDED", torch.float32)


@pytest.mark.usefixtures("_parts")
@pytest.mark.parametrize("statistic", STATISTICS, ids=lambda one: one.name)
@pytest.mark.parametrize("dim", [40, 64])
def test_as_exact_as_float32(statistic: Statistic, dim: int) -> None:
    assert_agrees(Maker(ROWS, COLUMNS, dim, torch.float32).to_columns(statistic), 2e-5)


@pytest.mark.usefixtures("_parts")
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_of_any_length(scale: float) -> None:
    pairs = Maker(ROWS, COLUMNS, 40, torch.float32).to_columns(LogSumExp(3.0, 18.3))
    assert pairs.columns is not None
    assert_agrees(replace(pairs, rows=pairs.rows * scale, columns=pairs.columns / scale), 2e-5)


@pytest.mark.usefixtures("_parts")
def test_ignored_vectors_of_nan_spoil_nothing() -> None:
    pairs = Maker(ROWS, COLUMNS, 40, torch.float32).to_columns(LogSumExp(3.0, 18.3))
    assert pairs.row_labels is not None
    labels, rows = pairs.row_labels.clone(), pairs.rows.clone()
    labels[::5], rows[::5] = IGNORED, float("nan")
    spoilt = replace(pairs, rows=rows, row_labels=labels)
    clean = replace(pairs, rows=rows.nan_to_num(), row_labels=labels)
    found, wanted = (outcome("triton", given, upstream(clean)) for given in (spoilt, clean))
    assert torch.equal(found.columns, wanted.columns) and torch.equal(found.rows[1], wanted.rows[1])


@pytest.mark.usefixtures("_parts")
@pytest.mark.parametrize("needed", [(True, False), (False, True)], ids=["rows", "columns"])
def test_a_side_alone(needed: tuple[bool, bool]) -> None:
    """The gradient of the other side is no memory to write to."""
    from dmlkernels.backends.triton import run

    pairs = Maker(ROWS, COLUMNS, 40, torch.float32).to_columns(LogSumExp(3.0, 18.3))
    forward, gradient = run.forward(pairs), upstream(pairs)
    both, one = (run.backward(pairs, forward, gradient, *sides) for sides in ((True, True), needed))
    for found, wanted, asked in zip(one, both, needed, strict=True):
        assert torch.equal(found, wanted) if asked else found is None


def test_memory_is_that_of_the_gradient() -> None:
    """Of two parts of columns."""
    from dmlkernels.backends.triton.problem import Vectors

    vectors, gradient = (torch.zeros(12, 8, device=DEVICE) for _ in range(2))
    side = Vectors(vectors, torch.zeros(1, 128, device=DEVICE), None)
    two, three = (parts.with_memory(side, Parts(1, count), gradient) for count in (2, 3))
    assert two.added is not None and three.added is not None
    assert two.added.data_ptr() == gradient.data_ptr() != three.added.data_ptr()
    assert two.added.shape == (12, 16) and three.added.shape == (12, 24)
