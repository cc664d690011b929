"""Which backends the conformance suite runs over: all that can run here."""

from __future__ import annotations

import pytest

import dmlkernels as dml
from dmlkernels import backends
from tests.losses import Loss

BACKENDS = [name for name, availability in dml.available_backends().items() if availability]


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
