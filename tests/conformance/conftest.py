"""Which backends the conformance suite runs over: all that can run here."""

from __future__ import annotations

import pytest

import dmlkernels as dml

BACKENDS = [name for name, availability in dml.available_backends().items() if availability]


@pytest.fixture(scope="session", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return request.param
