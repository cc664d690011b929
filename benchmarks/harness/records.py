"""Results as JSON lines, each saying where it came from."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("torch", "triton", "pytorch-metric-learning", "liger-kernel", "cut-cross-entropy", "numpy")

Record = dict[str, Any]
SAMPLES = "seconds"  # of every timed run


def write(path: Path, records: Iterable[Record]) -> None:
    """Append the records without their raw samples: tables and pictures read medians and quartiles."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as lines:
        for record in records:
            lines.write(json.dumps({key: value for key, value in record.items() if key != SAMPLES}) + "\n")


def read(paths: Iterable[Path]) -> Iterator[Record]:
    """All records, but for the last of a file where the run was cut short as it wrote that."""
    for path in paths:
        with path.open(encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines if line.strip() and line.endswith("\n"))


def provenance(device: str) -> Record:
    """Commit, device, versions and threads; and the load of the machine, which tells how far to trust a time."""
    now = {
        "threads": torch.get_num_threads(),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "load": round(_load(), 2),
    }
    return _fixed(torch.device(device).type) | now


@cache
def _fixed(kind: str) -> Record:
    return {
        "commit": _git("rev-parse", "--short=12", "HEAD") or "unknown",
        "modified": bool(_git("status", "--porcelain", "--untracked-files=no", "--", "dmlkernels", "csrc")),
        "device": torch.cuda.get_device_name() if kind == "cuda" else _cpu_name(),
        "device_type": kind,
        "versions": {"python": platform.python_version()} | _versions(),
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _cpu_name() -> str:
    cores = os.cpu_count() or 1
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {cores} cores"


def _load() -> float:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else -1.0


def _git(*arguments: str) -> str:
    try:
        run = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return run.stdout.strip()
