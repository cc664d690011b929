"""When CUDA tensors get the native CUDA engine, and the error where they cannot."""

from __future__ import annotations

import pytest
import torch

import dmlkernels as dml
from dmlkernels.backends import native, registry, triton
from dmlkernels.backends.native import cuda


@pytest.mark.parametrize(
    ("without_triton", "without_native", "chosen"),
    [(None, None, "triton"), ("no triton", None, "native"), ("no triton", "no engine", "torch")],
)
def test_auto(
    without_triton: str | None, without_native: str | None, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton, "unavailable_reason", lambda device_type=None: without_triton)
    monkeypatch.setattr(cuda, "unavailable_reason", lambda: without_native)
    assert registry.resolve("auto", "cuda") == chosen


def test_asking_for_it_in_vain_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = native.unavailable_reason("cuda")
    if reason is None:
        pytest.skip("it is here")
    assert any(said in reason for said in ("DMLKERNELS_CUDA=1", "no CUDA device", "ROCm", "older", "newer driver"))
    with pytest.raises(RuntimeError, match="backend 'native' cannot run"):
        registry.resolve("native", "cuda")


def test_the_cpu_engine_serves_the_cpu() -> None:
    assert not cuda.serves(torch.device("cpu")) and cuda.serves(torch.device("cuda"))
    assert bool(dml.available_backends()["native"]) == (native.unavailable_reason("cpu") is None)


def test_no_engine_serves_other_devices() -> None:
    assert "not on mps ones" in (native.unavailable_reason("mps") or "not on mps ones")
