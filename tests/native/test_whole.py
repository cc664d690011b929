"""A problem solved in one call gives what the loop over tiles gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dmlkernels.backends import blocked, native
from dmlkernels.backends.blocked import plan
from dmlkernels.backends.native import whole
from dmlkernels.backends.pairs import Forward, Pairs
from dmlkernels.statistics import IGNORED, Divergence, Field, LogSumExp, Moments, SoftTriple, Square

pytestmark = pytest.mark.skipif(
    native.unavailable_reason() is not None, reason=native.unavailable_reason() or "the native module is here"
)

_ROWS, _GROUPS, _DIM = 21, 14, 64


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
    wide = vectors(_ROWS, 2 * _DIM)[:, ::2]
    return {
        "moments": Pairs(Moments(), rows, columns, **labelled),
        "columns without labels": Pairs(Moments(), rows, columns, row_labels),
        "strided": Pairs(LogSumExp(5.0, 9.0), wide, vectors(_DIM, _GROUPS).mT, **labelled),
        "rows strided": Pairs(LogSumExp(5.0, 9.0), vectors(_ROWS, 2 * _DIM)[:, :_DIM], columns, **labelled),
        "narrow rows": Pairs(Moments(), rows.bfloat16(), columns, **labelled),
        "groups": Pairs(SoftTriple(20.0, 0.1, 3), rows, groups, **labelled),
        "views": Pairs(Divergence(7.0, False), vectors(2, _ROWS, _DIM), columns),
        "weights": Pairs(Square(), rows, columns, column_weights=torch.rand(_GROUPS, generator=generator)),
        "among rows": Pairs(Moments(), rows, row_labels=row_labels, within=True),
        "field among rows": Pairs(Field(3.0, 0.2, 0.9, 1e-2, 1.0), rows, row_labels=row_labels, within=True),
    }


@pytest.mark.parametrize("several_tiles", [False, True])
@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", _problems(torch.float32, False))
def test_a_whole_problem_is_that_of_tiles(
    name: str, dtype: torch.dtype, ignored: bool, several_tiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = _problems(dtype, ignored)[name]
    if several_tiles:
        monkeypatch.setattr(plan, "BLOCK_ROWS", 8)
        monkeypatch.setattr(plan, "TILE_ELEMENTS", 3 * 3 * _DIM)
    assert whole.suits(pairs)
    found, expected = whole.forward(pairs), blocked.forward(pairs, native.COMPILED)
    assert found is not None
    torch.testing.assert_close(found, expected)
    gradient = torch.randn(found.statistics.shape, dtype=dtype)
    for needs in ((True, True), (True, False), (False, True)):
        got = whole.backward(pairs, Forward(*found), gradient, *needs)
        wanted = blocked.backward(pairs, expected, gradient, *needs, native.COMPILED)
        assert got is not None
        for ours, theirs in zip(got, wanted, strict=True):
            assert (ours is None) == (theirs is None)
            if ours is not None:
                torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("name", _problems(torch.float64, False))
def test_threads_with_parts_of_their_own_find_the_same(
    name: str, threads: int, ignored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = _problems(torch.float64, ignored)[name]
    monkeypatch.setattr(whole, "PART_COLUMNS", 2)
    monkeypatch.setattr(plan, "TILE_ELEMENTS", 3 * _DIM)
    monkeypatch.setattr(plan, "BLOCK_ROWS", 8)
    before = torch.get_num_threads()
    found = []
    try:
        for count in (1, threads, threads):
            torch.set_num_threads(count)
            forward = whole.forward(pairs)
            assert forward is not None
            backward = whole.backward(pairs, forward, torch.ones_like(forward.statistics), True, True)
            assert backward is not None
            found.append((*forward, *backward))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(found[1], found[0])
    for first, again in zip(found[1], found[2], strict=True):
        assert first is again is None or torch.equal(first, again)


@pytest.mark.parametrize("label", [2**31, -(2**31), 2**40])
def test_labels_beyond_the_engine_go_to_the_tiles(label: int) -> None:
    labels = torch.tensor([label, label + 1, label])
    pairs = Pairs(Moments(), torch.randn(3, 4), torch.randn(2, 4), labels, labels[:2])
    assert whole.suits(pairs)
    assert whole.forward(pairs) is None
    torch.testing.assert_close(native.forward(pairs), blocked.forward(pairs))


@pytest.mark.parametrize(
    "pairs",
    [
        Pairs(Moments(), torch.randn(705, 2), within=True),
        Pairs(Moments(), torch.randn(5, 2), torch.randn(3, 2), within=True),
        Pairs(Moments(), torch.randn(5, 2), torch.randn(3, 2, dtype=torch.bfloat16)),
        Pairs(Moments(), torch.randn(5, 2, dtype=torch.float64), torch.randn(3, 2)),
    ],
)
def test_what_the_engine_cannot_read_as_it_is_goes_to_the_tiles(pairs: Pairs) -> None:
    assert not whole.suits(pairs)
