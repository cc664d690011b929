"""Fixtures: the kernels of every instruction set that this processor runs, and the thread count."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from dmlkernels.backends import native
from dmlkernels.backends.native import module

KERNELS = [] if native.unavailable_reason() else [kernels.name for kernels in module.compiled.kernels()]


@pytest.fixture(params=KERNELS)
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> module.compiled.Kernels:
    """Make the engine run these kernels."""
    chosen = next(kernels for kernels in module.compiled.kernels() if kernels.name == request.param)
    monkeypatch.setattr(module, "kernels", lambda: chosen)
    return chosen


@pytest.fixture
def threads() -> Iterator[int]:
    """The thread count, restored afterwards."""
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)
