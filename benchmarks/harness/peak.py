"""Peak extra memory of one call, in this process."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_extra_bytes(run: Callable[[], object], device: str = "cpu") -> int:
    """What ``run`` needs beyond the memory that is in use when it starts."""
    if torch.device(device).type == "cuda":
        return _on_gpu(run)
    return _on_cpu(run)


def _on_gpu(run: Callable[[], object]) -> int:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    kept = run()
    torch.cuda.synchronize()
    del kept
    return torch.cuda.max_memory_allocated() - before


def _on_cpu(run: Callable[[], object]) -> int:
    gc.collect()
    _trim()
    if _STATUS.exists():
        _CLEAR.write_text("5")  # the high-water mark starts again from here
        before = _kibibytes("VmRSS") - _kibibytes("RssFile")
        kept = run()
        # Library code that is run for the first time is mapped in; that is nobody's working memory.
        peak = _kibibytes("VmHWM") - _kibibytes("RssFile")
    else:  # no /proc: the mark of the whole life of the process
        before = _high_water()
        kept = run()
        peak = _high_water()
    del kept
    return max(0, peak - before)


def _kibibytes(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"{_STATUS} has no {field}")


def _high_water() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _trim() -> None:
    """Give freed memory back, or the next allocations would fill it unseen."""
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
