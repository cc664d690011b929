"""Kernels read and write nothing outside their tensors: these lie in buffers filled with a canary, found intact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dmlkernels.backends.native.cuda import launch
from tests.native.emulated.kinds import KINDS, every_kind
from tests.triton.common import Maker, outcome, upstream

GUARD = 64  # numbers: 16-byte alignment is kept
CANARY = {True: torch.nan, False: 2**40 + 7}


class Guarded:
    """Tensors within guarded buffers."""

    def __init__(self) -> None:
        self._buffers: list[Tensor] = []

    def empty(self, shape: tuple[int, ...], like: Tensor, dtype: torch.dtype) -> Tensor:
        count = torch.Size(shape).numel()
        buffer = torch.full((count + 2 * GUARD,), CANARY[dtype.is_floating_point], dtype=dtype)
        self._buffers.append(buffer)
        return buffer[GUARD : GUARD + count].view(shape)

    def copy(self, given: Tensor | None) -> Tensor | None:
        if given is None:
            return None
        return self.empty(given.shape, given, given.dtype).copy_(given)

    def assert_untouched(self) -> None:
        for buffer in self._buffers:
            edges = torch.cat((buffer[:GUARD], buffer[-GUARD:]))
            canary = torch.tensor(CANARY[edges.is_floating_point()], dtype=edges.dtype)
            assert edges.view(torch.uint8).equal(canary.expand(edges.shape).contiguous().view(torch.uint8))


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Guarded]:
    """What the backend makes for the engine to fill, or the test for it to read, is guarded."""
    guarded = Guarded()
    monkeypatch.setattr(launch, "empty", guarded.empty)
    yield guarded
    guarded.assert_untouched()


@pytest.mark.sampled(3)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shared", [False, True], ids=["alone", "splits"])
@pytest.mark.parametrize("dim", [17, 24], ids=["odd", "aligned"])
def test_guard_bands(
    kind: str, dtype: torch.dtype, shared: bool, dim: int, guarded: Guarded, request: pytest.FixtureRequest
) -> None:
    """A value read from a guard is NaN or no label and would show in the results; a written one shows in the guard."""
    if shared:
        request.getfixturevalue("many_splits")
    pairs = every_kind(Maker(18, 70, dim, dtype))[kind]
    expected = outcome("native", pairs, upstream(pairs))
    names = ("rows", "columns", "row_labels", "column_labels", "column_weights", "row_values")
    found = outcome(
        "native",
        replace(pairs, **{name: guarded.copy(getattr(pairs, name)) for name in names}),
        upstream(pairs),
    )
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours is None and theirs is None) or torch.equal(ours, theirs)
    assert not found.statistics.isnan().any()
    assert found.rows is not None and found.rows.isfinite().all()
