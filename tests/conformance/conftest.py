"""Which backends the conformance suite runs over: all that can run here.

With TRITON_INTERPRET=1 Triton's kernels can, interpreted; with INTERPRET_AS=sm_90, too, in the tiles of that GPU.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

import dmlkernels as dml
from dmlkernels import backends
from tests.losses import Loss

BACKENDS = [name for name, availability in dml.available_backends().items() if availability]
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

if INTERPRETED:
    from tests.triton.interpreter import QUIET, speed_up, stand_in_for

    speed_up()
    if "INTERPRET_AS" in os.environ:
        stand_in_for(os.environ["INTERPRET_AS"])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if INTERPRETED and "tests/conformance" in item.path.as_posix():
            item.add_marker(QUIET)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    """Skips what the interpreter has no numbers for."""
    try:
        return (yield)
    except TypeError as error:
        if INTERPRETED and "interpreted bfloat16" in str(error):
            pytest.skip(str(error))
        raise


@pytest.fixture(autouse=True)
def backend_has_statistic(request: pytest.FixtureRequest) -> None:
    """Skips what ``auto`` would give to another backend."""
    spec = getattr(request.node, "callspec", None)
    loss, backend = (spec.params.get(name) if spec else None for name in ("loss", "backend"))
    if isinstance(loss, Loss) and loss.statistic and backend and not backends.get(backend).supports(loss.statistic):
        pytest.skip(f"{backend} does not have {loss.statistic}")


@pytest.fixture(scope="session", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return request.param
