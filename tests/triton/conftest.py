"""Kernels run interpreted with TRITON_INTERPRET=1, on the GPU where there is one, and else are only compiled."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from tests.closed_form import choose_closed_form

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
NEED_KERNELS = [
    "test_device_checks.py",
    "test_flags.py",
    "test_formulas.py",
    "test_guards.py",
    "test_labels.py",
    "test_losses.py",
    "test_order.py",
    "test_parts.py",
    "test_same_scores.py",
    "test_shapes.py",
    "test_spread.py",
    "test_statistics.py",
    "test_tiles.py",
    "test_toy.py",
    "test_work.py",
]

if INTERPRETED:
    from tests.triton.interpreter import QUIET, speed_up

    speed_up()
    collect_ignore = ["test_compiled.py", "test_launches.py", "test_sweep.py"]
elif not torch.cuda.is_available():
    collect_ignore = NEED_KERNELS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if INTERPRETED and "tests/triton" in item.path.as_posix():
            item.add_marker(QUIET)


@pytest.fixture
def tiles_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No closed form, whatever the operation count says."""
    choose_closed_form(monkeypatch, False)


@pytest.fixture
def scheduled(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, Any], None]]:
    """Replace, by name, what schedules follow from, until the end of the test."""
    from dmlkernels.backends.triton import schedule
    from tests.triton.common import forget_schedules

    def replace(name: str, value: Any) -> None:
        monkeypatch.setattr(schedule, name, value)
        forget_schedules()

    yield replace
    monkeypatch.undo()
    forget_schedules()


@pytest.fixture
def apart(scheduled: Callable[[str, Any], None]) -> None:
    """A launch for the gradient of each side, however small it is."""
    scheduled("MOST_STREAMED", 0)


@pytest.fixture
def many_splits(apart: None, scheduled: Callable[[str, Any], None]) -> None:
    """Three programs stream each block's counterpart, however small it is."""
    scheduled("num_splits", lambda *args: 3)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where labels are not looked at by the host, so that kernels resolve them."""
    from dmlkernels.functional import inputs, sample_labels

    for module in (inputs, sample_labels):
        monkeypatch.setattr(module, "should_check", lambda device_type, validate: False)
