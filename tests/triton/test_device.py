"""What is asked of a device, without one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch

pytest.importorskip("triton")

from dmlkernels.backends.gpu import closed, splits
from dmlkernels.backends.triton import run
from dmlkernels.backends.triton.kernels.scalars import split_numbers
from dmlkernels.backends.triton.plan import Architecture
from dmlkernels.backends.triton.precision import matmul_precision


def test_multiprocessors_are_those_of_the_device() -> None:
    """An H100 on a PCIe card has 114 of the 132."""
    properties = SimpleNamespace(multi_processor_count=114)
    run._architecture.cache_clear()
    splits._multiprocessors.cache_clear()
    try:
        with (
            mock.patch.object(torch.cuda, "get_device_properties", return_value=properties),
            mock.patch.object(torch.cuda, "get_device_capability", return_value=(9, 0)),
            mock.patch.object(torch.version, "hip", None),
        ):
            assert run.architecture(torch.device("cuda", 1)) == Architecture("cuda", 90, 114)
    finally:
        run._architecture.cache_clear()
        splits._multiprocessors.cache_clear()
    assert run.architecture(torch.device("cpu")) == Architecture("interpreter")


needs_newer_switches = pytest.mark.skipif(
    not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="this torch has one set of switches"
)


@pytest.fixture
def switches(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Those of matrix products, put back after the test."""
    switches, before = torch.backends.cuda.matmul, torch.get_float32_matmul_precision()
    yield switches
    torch.set_float32_matmul_precision(before)
    switches.fp32_precision = "none"


@needs_newer_switches
def test_the_switch_of_products_is_put_back_when_the_last_thread_has_left(switches: Any) -> None:
    """Autograd has a thread for each device: in A, in B, out A, out B left it turned for good."""
    switches.fp32_precision = "tf32"
    first, second = (closed._full_float32(torch.device("cuda", index)) for index in range(2))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert switches.fp32_precision == "ieee"
    second.__exit__(None, None, None)
    assert switches.fp32_precision == "tf32"


@needs_newer_switches
def test_the_newer_switch_says_what_products_are_computed_in(switches: Any) -> None:
    """torch's older getter goes on saying what its own setter was told."""
    torch.set_float32_matmul_precision("high")
    assert matmul_precision() == "high"
    switches.fp32_precision = "ieee"
    assert matmul_precision() == "highest"
    switches.fp32_precision = "tf32"
    assert matmul_precision() == "high"
    torch.set_float32_matmul_precision("highest")
    assert matmul_precision() == "highest"


def test_numbers_are_split_on_the_host() -> None:
    with torch.device("meta"):
        high, low = split_numbers((0.1234567890123,))
    assert high != 0.1234567890123 and high + low == 0.1234567890123
