"""Routes backend "native" to the emulated CUDA engine, on CPU tensors."""

from __future__ import annotations

from types import ModuleType

import pytest

from dmlkernels.backends import native
from dmlkernels.backends.blocked import closed_form
from dmlkernels.backends.native import cuda
from dmlkernels.backends.native.cuda import launch, plan
from dmlkernels.backends.native.cuda import module as cuda_module
from tests.native.emulated import build
from tests.triton import common

ASCENDING, DESCENDING, SHUFFLED = 0, 1, 7  # in which a block's threads run


@pytest.fixture(scope="session")
def built() -> ModuleType:
    return build.load()


@pytest.fixture(autouse=True)
def engine(built: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The emulated engine, which now serves CPU tensors; always tiles, never the closed form."""
    monkeypatch.setattr(cuda_module, "compiled", built, raising=False)
    monkeypatch.setattr(cuda, "serves", lambda device: True)
    monkeypatch.setattr(closed_form, "supports", lambda pairs: False)
    monkeypatch.setattr(native, "unavailable_reason", lambda device_type=None: None)
    monkeypatch.setattr(common, "DEVICE", "cpu")  # of made pairs, also where there is a GPU
    built.set_order(ASCENDING)
    return built


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat every problem as large: norms come from their own launch, and points are sorted."""
    monkeypatch.setattr(plan, "SMALL", 0)


@pytest.fixture
def many_splits(large: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Split the vectors that a block streams over three blocks, however few they are."""
    whole = plan.split_large_problem

    def shared(*args: int) -> plan.WorkSplit:
        return whole(*args)._replace(num_splits=3)

    monkeypatch.setattr(launch.plan, "split_large_problem", shared)


@pytest.fixture
def backend() -> str:
    """Name the backend, as tests of the conformance suite want it."""
    return "native"
