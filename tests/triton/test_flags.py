"""Forward's flags of the tiles that have a gradient: backward scores no other, and not a bit of its result changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dmlkernels import backends
from dmlkernels.backends.pairs import Forward, Pairs
from dmlkernels.backends.triton.saved import FLAG_COLUMNS, FLAG_ROWS, split
from dmlkernels.statistics import Field, Fused, Statistic
from tests.triton.common import DEVICE, Maker, assert_agrees, upstream

NEAR = (3.0, 0.2, 0.2, 1e-2, 1.0)
TILE = 16  # of the interpreter
pytestmark = pytest.mark.usefixtures("tiles_only")


def _classes_apart(statistic: Statistic, dtype: torch.dtype = torch.float32) -> Pairs:
    """Two classes at right angles, of 64 points each: only pairs of one class act."""
    maker = Maker(2 * FLAG_ROWS, 4, 8, dtype)
    labels = torch.arange(2, device=DEVICE).repeat_interleave(FLAG_ROWS)
    points = 4 * torch.eye(8, dtype=dtype, device=DEVICE)[labels] + maker.normal(2 * FLAG_ROWS, 8)
    return Pairs(statistic, points, None, labels, within=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_flags_are_those_of_the_classes(dtype: torch.dtype) -> None:
    pairs = _classes_apart(Field(*NEAR), dtype)
    flags = split(pairs.shape, backends.get("triton").forward(pairs).saved).flags
    assert flags is not None
    cells = FLAG_ROWS // FLAG_COLUMNS
    assert flags[:2].tolist() == [2**cells - 1, (2**cells - 1) << cells]


@pytest.mark.skipif(DEVICE == "cuda", reason="counts what the interpreter multiplies")
def test_backward_multiplies_nothing_where_no_tile_has_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    from triton.runtime.interpreter import InterpreterBuilder

    products = []
    create_dot = InterpreterBuilder.create_dot

    def counted(self: Any, *args: Any) -> Any:
        products.append(1)
        return create_dot(self, *args)

    pairs = _classes_apart(Field(*NEAR))
    backend = backends.get("triton")
    forward = backend.forward(pairs)
    monkeypatch.setattr(InterpreterBuilder, "create_dot", counted)
    backend.backward(pairs, forward, upstream(pairs), True, False)
    assert len(products) == 2 * 2 * (FLAG_ROWS // TILE) ** 2  # scores and gradients of the tiles of either class


@pytest.mark.parametrize("kind", ["field", "fused", "field_to_columns"])
def test_the_same_bits_without(kind: str) -> None:
    """As if every tile acted."""
    maker = Maker(2 * FLAG_ROWS, 70, 8, torch.float32)
    if kind == "field_to_columns":
        pairs = maker.to_columns(Field(*NEAR), labelled=True)
    else:
        pairs = maker.within(Field(*NEAR) if kind == "field" else Fused(*NEAR), 40, columns=kind == "fused")
    backend = backends.get("triton")
    forward, gradient = backend.forward(pairs), upstream(pairs).float()
    every = Forward(forward.statistics, forward.saved.clone())
    flags = split(pairs.shape, every.saved).flags
    assert flags is not None
    flags.fill_(-1)
    needs_columns = pairs.columns is not None
    for one, other in zip(
        backend.backward(pairs, forward, gradient, True, needs_columns),
        backend.backward(pairs, every, gradient, True, needs_columns),
        strict=True,
    ):
        assert (one is None and other is None) or (one is not None and other is not None and torch.equal(one, other))


@pytest.mark.parametrize("statistic", [Field(*NEAR), Fused(*NEAR)], ids=lambda statistic: statistic.name)
def test_agrees_where_most_is_skipped(statistic: Statistic) -> None:
    assert_agrees(_classes_apart(statistic, torch.float64), 1e-10)


def test_more_columns_than_a_word_has_bits() -> None:
    """Points of a class lie in the first and in the last word."""
    maker = Maker(3, 1200, 4)
    rows, columns = (maker.normal(count, 4) for count in (3, 1200))
    columns[-3:] = rows
    labels = torch.arange(3, device=DEVICE)
    column_labels = torch.cat((torch.full((1197,), 7, device=DEVICE), labels))
    assert_agrees(Pairs(Field(3.0, 0.01, 0.2, 1e-2, 1.0), rows, columns, labels, column_labels), 1e-9)
