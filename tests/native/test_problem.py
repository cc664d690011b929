"""Problems of every kind, solved in one call each way, equal the torch backend's loop over tiles."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dmlkernels.backends import blocked, native
from dmlkernels.backends.blocked import plan, streaming
from dmlkernels.backends.native import engine
from dmlkernels.backends.pairs import Forward, Gradients, Pairs
from dmlkernels.statistics import IGNORED, Divergence, Field, Fused, LogSumExp, Moments, SoftTriple, Square

pytestmark = pytest.mark.skipif(
    native.unavailable_reason() is not None, reason=native.unavailable_reason() or "the native module is here"
)

_ROWS, _GROUPS, _DIM = 21, 14, 64
_FIELD = (3.0, 0.2, 0.9, 1e-2, 1.0)


def _labels(count: int, ignored: bool) -> Tensor:
    labels = torch.arange(count) % 5
    return labels.masked_fill(labels == 2, IGNORED) if ignored else labels


def _problems(dtype: torch.dtype, ignored: bool) -> dict[str, Pairs]:
    generator = torch.Generator().manual_seed(3)

    def vectors(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=dtype, generator=generator)

    rows, columns, groups = vectors(_ROWS, _DIM), vectors(_GROUPS, _DIM), vectors(_GROUPS * 3, _DIM)
    row_labels, column_labels = _labels(_ROWS, ignored), _labels(_GROUPS, ignored)
    labelled = {"row_labels": row_labels, "column_labels": column_labels}
    weights = torch.rand(_GROUPS, generator=generator)
    wide = vectors(_ROWS, 2 * _DIM)[:, ::2]
    fused = {"row_labels": row_labels, "column_weights": weights, "row_boundaries": (9,)}
    return {
        "moments": Pairs(Moments(), rows, columns, **labelled),
        "columns without labels": Pairs(Moments(), rows, columns, row_labels),
        "strided": Pairs(LogSumExp(5.0, 9.0), wide, vectors(_DIM, _GROUPS).mT, **labelled),
        "rows strided": Pairs(LogSumExp(5.0, 9.0), vectors(_ROWS, 2 * _DIM)[:, :_DIM], columns, **labelled),
        "narrow rows": Pairs(Moments(), rows.bfloat16(), columns, **labelled),
        "narrow columns": Pairs(Moments(), rows, columns.half(), **labelled),
        "groups": Pairs(SoftTriple(20.0, 0.1, 3), rows, groups, **labelled),
        "narrow groups": Pairs(SoftTriple(20.0, 0.1, 3), rows, groups.bfloat16(), **labelled),
        "views": Pairs(Divergence(7.0, False), vectors(2, _ROWS, _DIM), columns),
        "weights": Pairs(Square(), rows, columns, column_weights=weights),
        "ignored labels of no account": Pairs(Square(), rows, columns, None, column_labels, column_weights=weights),
        "column segments": Pairs(Field(*_FIELD), rows, columns, **labelled, column_boundaries=(3, 4)),
        "segments of groups": Pairs(SoftTriple(20.0, 0.1, 3), rows, groups, **labelled, column_boundaries=(15,)),
        "among rows": Pairs(Moments(), rows, row_labels=row_labels, within=True),
        "among rows, both ends apart": Pairs(LogSumExp(5.0, 9.0), rows, row_labels=row_labels, within=True),
        "field among rows": Pairs(Field(*_FIELD), rows, row_labels=row_labels, within=True),
        "field among rows and columns": Pairs(Field(*_FIELD), rows, columns, **labelled, within=True),
        "fused": Pairs(Fused(*_FIELD), rows, columns, **fused, within=True),
        "fused, weights of columns that count": Pairs(
            Fused(*_FIELD), rows, columns, column_labels=column_labels, **fused, within=True
        ),
        "a part of fused": Pairs(
            Fused(*_FIELD), rows, columns, **labelled, column_weights=weights, column_boundaries=(4,)
        ),
    }


def _solve(pairs: Pairs, solver: object, needs: tuple[bool, bool] = (True, True)) -> tuple[Tensor, Gradients]:
    forward = solver.forward(pairs)  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(5)
    gradient = torch.randn(forward.statistics.shape, dtype=torch.float64, generator=generator).to(pairs.dtype)
    gradient = gradient.where(forward.statistics.isfinite(), 0)  # an empty sum of exponentials has none
    return forward.statistics, solver.backward(pairs, forward, gradient, *needs)  # type: ignore[attr-defined]


@pytest.mark.parametrize("several_tiles", [False, True])
@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", _problems(torch.float32, False))
def test_equals_the_loop_of_torch(
    name: str, dtype: torch.dtype, ignored: bool, several_tiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = _problems(dtype, ignored)[name]
    expected = _solve(pairs, streaming)
    if several_tiles:
        monkeypatch.setattr(plan, "BLOCK_ROWS", 8)
        monkeypatch.setattr(plan, "SQUARE_BLOCK", 5)
        monkeypatch.setattr(plan, "TILE_ELEMENTS", 3 * 3 * _DIM)
    for needs in ((True, True), (True, False), (False, True)):
        statistics, gradients = _solve(pairs, engine, needs)
        torch.testing.assert_close(statistics, expected[0])
        for needed, ours, theirs in zip(needs, gradients, expected[1], strict=True):
            assert (ours is None) == (theirs is None or not needed)
            if ours is not None and theirs is not None:
                torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("name", _problems(torch.float64, False))
def test_threads_with_parts_of_their_own_find_the_same(
    name: str, threads: int, ignored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = _problems(torch.float64, ignored)[name]
    monkeypatch.setattr(engine, "PART_COLUMNS", 2)
    monkeypatch.setattr(plan, "TILE_ELEMENTS", 3 * _DIM)
    monkeypatch.setattr(plan, "BLOCK_ROWS", 8)
    before = torch.get_num_threads()
    found = []
    try:
        for count in (1, threads, threads):
            torch.set_num_threads(count)
            statistics, gradients = _solve(pairs, engine)
            found.append((statistics, *gradients))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(found[1], found[0])
    for first, again in zip(found[1], found[2], strict=True):
        assert first is again is None or torch.equal(first, again)


@pytest.mark.parametrize("label", [2**31, -(2**31), 2**40])
def test_labels_beyond_32_bits(label: int) -> None:
    labels = torch.tensor([label, label + 1, label])
    pairs = Pairs(Moments(), torch.randn(3, 4), torch.randn(2, 4), labels, labels[:2])
    torch.testing.assert_close(engine.forward(pairs).statistics, streaming.forward(pairs).statistics)
    torch.testing.assert_close(native.forward(pairs), blocked.forward(pairs))


def test_tiles_without_a_gradient_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Points of one class in one place, the classes far apart: only pairs of a class have slopes."""
    monkeypatch.setattr(plan, "SQUARE_BLOCK", 4)
    places = torch.eye(6).repeat(4, 1) + 0.01 * torch.randn(24, 6)
    pairs = Pairs(Field(3.0, 0.2, 0.2, 1e-2, 1.0), places, row_labels=torch.arange(24) % 6, within=True)
    forward = engine.forward(pairs)
    assert torch.equal(forward.saved.triu(), torch.eye(6))
    gradient = torch.randn(24, 1)
    found = engine.backward(pairs, forward, gradient, True, False).rows
    without = engine.backward(pairs, Forward(forward.statistics, torch.ones(6, 6)), gradient, True, False).rows
    nothing = engine.backward(pairs, Forward(forward.statistics, torch.zeros(6, 6)), gradient, True, False).rows
    assert found is not None
    assert without is not None
    assert torch.equal(found, without)
    assert nothing is not None
    assert not nothing.any()


@pytest.mark.parametrize("finite", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_read_and_written_as_torch_does(dtype: torch.dtype, finite: bool) -> None:
    """All values of the type, in vectors of 8. Gradients of small vectors are large, and some overflow float16."""
    rows = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(dtype).reshape(-1, 8)
    if finite:  # else all gradients of columns are NaN
        rows = rows[rows.isfinite().all(1)]
    pairs = Pairs(Square(), rows, rows[5:2000:64], column_weights=torch.ones(32))
    single = replace(pairs, rows=rows.float(), columns=rows[5:2000:64].float())
    forward = engine.forward(pairs)
    torch.testing.assert_close(forward.statistics, engine.forward(single).statistics, rtol=0, atol=0, equal_nan=True)
    gradient = torch.logspace(-6, 6, rows.shape[0])[:, None].roll(rows.shape[0] // 3)
    found = engine.backward(pairs, forward, gradient, True, finite)
    for ours, theirs in zip(found, engine.backward(single, forward, gradient, True, finite), strict=True):
        if ours is not None and theirs is not None:
            torch.testing.assert_close(ours, theirs.to(dtype), rtol=0, atol=0, equal_nan=True)
            assert dtype == torch.bfloat16 or ours.isinf().any()
            assert ours.isfinite().any()
