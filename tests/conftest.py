"""Settings of all tests, and which of them a run takes.

``@pytest.mark.sampled(3)`` takes one in three of a test's instances, always the same ones and at least one;
``@pytest.mark.nightly`` none. ``--every`` takes all, and so does naming a test with ``::``.
"""

from __future__ import annotations

import os
from zlib import crc32

import pytest
import torch

# Tests run side by side, a process a core, on small tensors: more threads would only wait for each other, and so would
# those of the processes that tests start.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--every", action="store_true", help="take all tests: those that are sampled or nightly, too")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sampled(n): one in n of these is taken unless --every is given")
    config.addinivalue_line("markers", "nightly: taken only if --every is given")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--every") or any("::" in name for name in config.args):
        return
    chosen = {item for item in items if taken(item)}
    represented = {function_of(item) for item in chosen}
    for item in items:
        if item.get_closest_marker("nightly") is None and function_of(item) not in represented:
            chosen.add(item)
            represented.add(function_of(item))
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = [item for item in items if item in chosen]


def taken(item: pytest.Item) -> bool:
    """Whether this instance of a test is in the sample."""
    sampled = item.get_closest_marker("sampled")
    if item.get_closest_marker("nightly") is not None:
        return False
    return sampled is None or crc32(item.nodeid.encode()) % sampled.args[0] == 0


def function_of(item: pytest.Item) -> str:
    """The test without its parameters."""
    return item.nodeid.partition("[")[0]
