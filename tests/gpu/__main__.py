"""Run all of it and write a report: ``python -m tests.gpu [report.md]``, on a machine with a GPU; needs no network."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import torch

SUITES = ("tests/gpu", "tests/triton")
_MOST_PROCESSES = 8  # most of the time goes to compiling, on the CPU


def run(suite: str, seconds: float) -> tuple[str, str]:
    """How it went, and what pytest printed, even if it was stopped."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=10", suite]
    command += ["--ignore", "tests/triton/test_compiled.py"]  # needs no GPU
    if importlib.util.find_spec("xdist"):
        command += ["-n", str(min(_MOST_PROCESSES, os.cpu_count() or 1))]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        return f"stopped after {seconds:.0f} s", _text(error.stdout)
    return ("failed" if done.returncode else "passed"), _text(done.stdout)


def _text(output: bytes | None) -> str:
    return (output or b"").decode(errors="replace")[-20_000:]


def main() -> int:
    import triton

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, nargs="?", default=Path("gpu-report.md"))
    parser.add_argument("--seconds", type=float, default=3600.0, help="stop after so long in all")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("there is no CUDA or ROCm device here")
    device = torch.cuda.get_device_properties(0)
    lines = [
        "# GPU report",
        "",
        f"{device.name}, {device.multi_processor_count} multiprocessors, {device.total_memory / 2**30:.0f} GiB",
        f"torch {torch.__version__}, triton {triton.__version__}, Python {platform.python_version()}",
    ]
    passed = True
    deadline = time.monotonic() + options.seconds
    for suite in SUITES:
        went, printed = run(suite, max(0.0, deadline - time.monotonic()))
        passed &= went == "passed"
        lines += ["", f"## {suite}: {went}", "", "```", printed, "```"]
        options.report.write_text("\n".join(lines) + "\n")
    return int(not passed)


if __name__ == "__main__":
    sys.exit(main())
