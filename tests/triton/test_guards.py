"""Kernels read and write nothing outside their tensors: these lie in buffers filled with a canary, found intact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import triton
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from dmlkernels.backends.triton import launch, layout, problem
from dmlkernels.backends.triton.availability import interpreted
from dmlkernels.backends.triton.kernels.norms import clear
from tests.triton.common import KINDS, Maker, every_kind, outcome, upstream

GUARD = 64
CANARY = {True: torch.nan, False: 77}


class Launch:
    """Stands in for a kernel: launches it on copies of its tensors, each within a guarded buffer."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self.launches = 0

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        def guarded(*args: Any, **options: Any) -> None:
            leaves, tree = tree_flatten(args)
            buffers = [_guard(arg) if isinstance(arg, Tensor) else None for arg in leaves]
            inside = [arg if buffer is None else buffer[1] for arg, buffer in zip(leaves, buffers, strict=True)]
            self._kernel[grid](*tree_unflatten(inside, tree), **options)
            self.launches += 1
            for arg, buffer in zip(leaves, buffers, strict=True):
                if buffer is not None:
                    assert _untouched(buffer[0])
                    arg.copy_(buffer[1]) if _is_dense(arg) else None

        return guarded


def _is_dense(x: Tensor) -> bool:
    return x.is_contiguous()


def _guard(x: Tensor) -> tuple[Tensor, Tensor]:
    size = sum((n - 1) * s for n, s in zip(x.shape, x.stride(), strict=True)) + 1 if x.numel() else 0
    buffer = x.new_full((size + 2 * GUARD,), CANARY[x.dtype.is_floating_point])
    inside = buffer.as_strided(x.shape, x.stride(), GUARD)
    inside.copy_(x)
    return buffer, inside


def _untouched(buffer: Tensor) -> bool:
    edges = torch.cat((buffer[:GUARD], buffer[-GUARD:]))
    return bool(edges.isnan().all() if edges.dtype.is_floating_point else (edges == CANARY[False]).all())


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> list[Launch]:
    places = (
        (layout, "prepare_kernel"), (layout, "arrange_kernel"), (problem, "values_kernel"), (launch, "forward_kernel"),
        (launch, "both_kernel"), (launch, "backward_kernel"), (launch, "combine_kernel"),
    )  # fmt: skip
    stand_ins = [Launch(getattr(owner, name)) for owner, name in places]
    for (owner, name), stand_in in zip(places, stand_ins, strict=True):
        monkeypatch.setattr(owner, name, stand_in)
    return stand_ins


@pytest.mark.sampled(3)
@pytest.mark.usefixtures("tiles_only")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["at once", "apart", "in shares"])
def test_guard_bands(
    kind: str, dtype: torch.dtype, way: str, guarded: list[Launch], scheduled: Callable[[str, Any], None]
) -> None:
    """A value read from a guard is NaN and would show in the results; a written one shows in the guard."""
    if way != "at once":
        scheduled("MOST_STREAMED", 0)
    if way == "in shares":
        scheduled("num_splits", lambda *args: 2)
    pairs = every_kind(Maker(18, 19, 17, dtype))[kind]
    found = outcome("triton", pairs, upstream(pairs))
    assert not found.statistics.isnan().any()
    assert found.rows is not None and found.rows.isfinite().all()
    assert found.columns is None or found.columns.isfinite().all()
    prepare, arrange, values, forward, both, backward, combine = (stand_in.launches for stand_in in guarded)
    at_once = way == "at once" and not pairs.within
    assert (arrange if pairs.within else prepare) and values and forward
    assert both if at_once else backward
    assert bool(combine) == (way == "in shares")


@triton.jit
def _clear(words_p, num_words):  # noqa: ANN001, ANN202
    clear(words_p, num_words, 1024)


@pytest.mark.skipif(not interpreted(), reason="two million programs are pretended")
@pytest.mark.parametrize("program", [2**21, 2**22, 2**22 + 5])
def test_very_many_programs_clear_their_share_only(monkeypatch: pytest.MonkeyPatch, program: int) -> None:
    """32 bits do not hold the words of all of them: a program far behind took itself for one of the first."""
    from triton.runtime.interpreter import interpreter_builder

    words = torch.ones(3000, dtype=torch.int32)
    monkeypatch.setattr(interpreter_builder, "set_grid_dim", lambda *dim: None)
    monkeypatch.setattr(interpreter_builder, "set_grid_idx", lambda *index: None)
    monkeypatch.setattr(interpreter_builder, "grid_dim", (2**22 + 9, 1, 1), raising=False)
    monkeypatch.setattr(interpreter_builder, "grid_idx", (program, 0, 0), raising=False)
    _clear[(1,)](words, words.numel())
    assert words.all()
    monkeypatch.setattr(interpreter_builder, "grid_idx", (1, 0, 0))
    _clear[(1,)](words, words.numel())
    assert not words[1024:2048].any() and words.sum() == 3000 - 1024
