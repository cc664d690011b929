"""The compiled module, or why it is not here."""

from __future__ import annotations

import platform
import warnings
from functools import cache

try:
    import dmlkernels._native as compiled

    reason: str | None = None
except ImportError as error:
    reason = (
        f"the native module is not in this installation ({error}); "
        "reinstall with DMLKERNELS_NATIVE=1 to build it or see why it cannot be built"
    )

__all__ = ["compiled", "kernels", "preferred", "reason", "unavailable_reason", "warn_if_missing"]


def unavailable_reason(device_type: str | None = None) -> str | None:
    """Why the native CPU engine cannot run on this kind of device, or None when it can; without one, on any of here."""
    if reason is None and device_type not in (None, "cpu"):
        return f"the native engine runs on CPU and CUDA tensors, not on {device_type} ones"
    return reason


@cache
def kernels() -> compiled.Kernels:
    """The best that this processor runs."""
    return compiled.kernels()[0]


@cache
def warn_if_missing() -> None:
    """Warn, once, that losses on the CPU are slower than they could be: a failed build is silent under pip."""
    if reason is not None:
        warnings.warn(
            f"dmlkernels computes CPU losses with plain PyTorch, which is slower: {reason}. "
            "`python -m dmlkernels` says more, and backend='torch' or a filter for this warning silences it",
            stacklevel=2,
        )


def preferred() -> bool:
    """Whether it is faster than torch: on x86 it needs AVX2, without which torch's own matrix product wins."""
    return reason is None and (kernels().name != "baseline" or platform.machine() in ("aarch64", "arm64"))
