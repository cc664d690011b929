"""The compiled module, or why it is not here."""

from __future__ import annotations

from functools import lru_cache

import torch

try:
    import dmlkernels._native_cuda as compiled

    reason: str | None = None
except ImportError as error:
    reason = (
        f"the CUDA engine is not in this installation ({error}); "
        "it is built only with DMLKERNELS_CUDA=1 and the CUDA toolkit's nvcc"
    )

__all__ = ["compiled", "reason", "unavailable_reason"]


def unavailable_reason() -> str | None:
    """Why the CUDA engine cannot run here, or None when it can."""
    if reason is not None:
        return reason
    if torch.version.hip is not None:
        return "the CUDA engine runs on NVIDIA devices, and this is a ROCm build of torch"
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    if torch.cuda.get_device_capability() < (8, 0):
        return "the device is older than compute capability 8.0"
    return _driver_error()


@lru_cache
def _driver_error() -> str | None:
    error = compiled.driver_error()
    return f"the CUDA engine was built for a newer driver ({error})" if error else None
