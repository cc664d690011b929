"""Everything on this machine's CPU, recorded and reported: ``python -m benchmarks``. Fifty minutes on two quiet cores.

Writes benchmarks/results/cpu-COMMIT.jsonl, the pictures, and the sections of docs/benchmarks.md and the README.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.harness.records import provenance

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--full", action="store_true", help="every shape, for hours and 16 GiB, in place of the default ones"
    )
    options = parser.parse_args()
    file = ROOT / "benchmarks" / "results" / f"cpu-{provenance('cpu')['commit']}.jsonl"
    file.unlink(missing_ok=True)
    pytest = ["pytest", "benchmarks", "--benchmark-only", "-q", "--benchmark-record", str(file)]
    commands = (
        [*pytest, *(["--benchmark-full"] if options.full else [])],
        ["benchmarks.targets", "--record", str(file)],
        ["benchmarks.engines", "--record", str(file)],
        ["benchmarks.growth", "--record", str(file)],
        ["benchmarks.largest", "--record", str(file)],
        ["benchmarks.report"],
    )
    codes = [subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False).returncode for command in commands]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
