"""Whether Triton can run here, and why not."""

from __future__ import annotations

from functools import lru_cache

import torch

MINIMUM_TRITON = (3, 6)


def unavailable_reason(device_type: str | None = None) -> str | None:
    """Why these kernels cannot run on this kind of device (None: on any of this machine), or None when they can."""
    missing = _unusable_installation()
    if missing is not None:
        return missing
    if interpreted():
        return "TRITON_INTERPRET=1: kernels are interpreted, on CPU tensors only" if device_type == "cuda" else None
    if device_type == "cuda" or (device_type is None and torch.cuda.is_available()):
        return _unusable_gpu(torch.cuda.current_device())
    if device_type is None:
        return "there is no CUDA or ROCm device (on a CPU kernels run interpreted, with TRITON_INTERPRET=1)"
    return f"its kernels run on CUDA and ROCm tensors, not on {device_type} ones"


@lru_cache  # Triton reads the environment each time
def interpreted() -> bool:
    """Whether kernels are interpreted: TRITON_INTERPRET=1 was set before they were imported."""
    import triton

    return bool(triton.knobs.runtime.interpret)


def triton_version() -> tuple[int, ...]:
    """Major and minor version of the Triton that is here."""
    import triton

    return tuple(int(part) for part in triton.__version__.split(".")[:2])


@lru_cache
def _unusable_installation() -> str | None:
    try:
        import triton
    except ImportError as error:
        return f"the triton package is not in this installation ({error})"

    if triton_version() < MINIMUM_TRITON:
        return f"triton {triton.__version__} is too old: at least {'.'.join(map(str, MINIMUM_TRITON))} is needed"
    return None


@lru_cache
def _unusable_gpu(index: int) -> str | None:
    if torch.version.hip is None and torch.cuda.get_device_capability(index) < (8, 0):
        return "the device is older than compute capability 8.0"
    return None
