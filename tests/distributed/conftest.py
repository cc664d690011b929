"""One world for all tests of a run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from torch import distributed

from tests.distributed.world import World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if not distributed.is_available() or not distributed.is_gloo_available():
        pytest.skip("gloo is not built into this torch")
    found = World(tmp_path_factory.mktemp("world"))
    yield found
    found.stop()
