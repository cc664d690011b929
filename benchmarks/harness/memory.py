"""Ask the zygote for the peak memory of a call; read how much memory there is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

_ROOT = Path(__file__).resolve().parents[2]
_SHARE = 0.8  # of what is available, that one measurement may take


@dataclass(frozen=True)
class Memory:
    """``status`` is "ok", "does not fit", "too slow" or "failed"; the bytes are known only if ok."""

    status: str
    extra_bytes: int | None = None
    reason: str = ""


class Probe:
    """Asks a zygote for the peak extra memory of calls. A context manager; starts on the first question."""

    def __init__(self, preload: Sequence[str] = ()) -> None:
        self._preload = tuple(preload)
        self._zygote: subprocess.Popen[str] | None = None

    def peak(
        self,
        target: str,  # "module:function": prepares everything and returns the call to measure
        arguments: Mapping[str, Any],  # of that function; must survive JSON
        device: str = "cpu",
        limit_bytes: int | None = None,
        limit_seconds: float = 300.0,
    ) -> Memory:
        zygote = self._start()
        assert zygote.stdin is not None and zygote.stdout is not None
        request = {
            "target": target,
            "arguments": dict(arguments),
            "device": device,
            "limit_bytes": usable_bytes("cpu") if limit_bytes is None else limit_bytes,
            "limit_seconds": limit_seconds,
        }
        zygote.stdin.write(json.dumps(request) + "\n")
        zygote.stdin.flush()
        line = zygote.stdout.readline()
        if not line:
            self.close()
            return Memory("failed", reason="the measuring process died")
        return Memory(**json.loads(line))

    def close(self) -> None:
        if self._zygote is not None:
            with self._zygote as zygote:  # closes its pipes and waits for it
                assert zygote.stdin is not None
                zygote.stdin.close()
            self._zygote = None

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _start(self) -> subprocess.Popen[str]:
        if self._zygote is None:
            self._zygote = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "benchmarks.harness.zygote", *self._preload],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=_ROOT,
                env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
            )
        return self._zygote


def usable_bytes(device: str) -> int:
    """What one measurement may take without harm to whatever else runs."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info()[0] * _SHARE)
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        found = [line.split()[1] for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable:")]
        free = int(found[0]) * 1024 if found else free
    return int(free * _SHARE)
