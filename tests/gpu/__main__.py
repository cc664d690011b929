"""Run all of it and write a report: ``python -m tests.gpu [report.md]``, on a machine with a GPU; needs no network."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import torch

SUITES = ("tests/gpu", "tests/triton")


def main() -> int:
    import triton

    report = Path(sys.argv[1] if len(sys.argv) > 1 else "gpu-report.md")
    if not torch.cuda.is_available():
        sys.exit("there is no CUDA or ROCm device here")
    device = torch.cuda.get_device_properties(0)
    lines = [
        "# GPU report",
        "",
        f"{device.name}, {device.multi_processor_count} multiprocessors, {device.total_memory / 2**30:.0f} GiB",
        f"torch {torch.__version__}, triton {triton.__version__}, Python {platform.python_version()}",
    ]
    failed = False
    for suite in SUITES:
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=10", suite],
            capture_output=True,
            text=True,
            check=False,
        )
        failed |= run.returncode != 0
        lines += ["", f"## {suite}: {'failed' if run.returncode else 'passed'}", "", "```", run.stdout[-20_000:], "```"]
    report.write_text("\n".join(lines) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
