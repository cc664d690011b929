"""Settings of all tests, and which of them a run takes.

``@pytest.mark.sampled(3)`` takes one in three of a test's instances, always the same ones; ``@pytest.mark.nightly``
none. ``--every`` takes all, and so does naming a test with ``::``.
"""

from __future__ import annotations

from zlib import crc32

import pytest
import torch

# Tests run side by side, a process a core, on small tensors: more threads would only wait for each other.
torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--every", action="store_true", help="take all tests: those that are sampled or nightly, too")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sampled(n): one in n of these is taken unless --every is given")
    config.addinivalue_line("markers", "nightly: taken only if --every is given")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--every") or any("::" in name for name in config.args):
        return
    left = [item for item in items if not taken(item)]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if taken(item)]


def taken(item: pytest.Item) -> bool:
    """Whether a run takes this instance of a test without being asked to."""
    sampled = item.get_closest_marker("sampled")
    if item.get_closest_marker("nightly") is not None:
        return False
    return sampled is None or crc32(item.nodeid.encode()) % sampled.args[0] == 0
