"""What is asked of a device, without one."""

from __future__ import annotations

from types import SimpleNamespace
from unittest import mock

import torch

from dmlkernels.backends.gpu import splits
from dmlkernels.backends.triton import run
from dmlkernels.backends.triton.plan import Architecture


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
