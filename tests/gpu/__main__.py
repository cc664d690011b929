"""Run everything that asks a GPU and write a report: ``python -m tests.gpu --out FOLDER``; needs no network.

First the checks of ``first.py``, which need no pytest, in several processes; then, if time is left and pytest is there,
the whole suites.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch

from tests.gpu.first import BROKEN, part_of

ROOT = Path(__file__).resolve().parents[2]
SUITES = ("tests/gpu", "tests/triton")
_MOST_PROCESSES = 16  # most of the time goes to compiling, on the CPU
_GRACE = 60  # seconds that a check may take beyond the time that there is


def answer_part(part: int, parts: int, folder: Path, deadline: float, only: str) -> Path:
    """Answer a part of the checks. A process that a check ends, or whose device it breaks, has a successor."""
    record, names = folder / f"first-{part}.jsonl", [check.name for check in part_of(f"{part}/{parts}", only)]
    record.write_text("")
    while (answered := len(answers(record))) < len(names):
        left = max(0.0, deadline - time.monotonic())
        command = [sys.executable, "-m", "tests.gpu.first", str(record), "--part", f"{part}/{parts}"]
        command += ["--seconds", str(left), "--skip", str(answered), "--only", only]
        try:
            status = subprocess.run(command, cwd=ROOT, timeout=left + _GRACE, check=False).returncode
            ended = f"its process ended with status {status}"
        except subprocess.TimeoutExpired:
            status, ended = BROKEN, "hangs"
        if (answered := len(answers(record))) < len(names) and (status != BROKEN or ended == "hangs"):
            with record.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"check": names[answered], "answer": ended, "seconds": 0.0}) + "\n")
    return record


def answers(record: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in record.read_text().splitlines()]


def table(found: list[dict[str, object]]) -> list[str]:
    """What failed first, then everything."""
    found = sorted(found, key=lambda one: one["answer"] in ("ok", "no time"))
    head = ["| check | answer | seconds, compiling included |", "| --- | --- | ---: |"]
    return head + [f"| {one['check']} | {str(one['answer']).replace('|', '/')} | {one['seconds']} |" for one in found]


def run_suite(suite: str, seconds: float) -> tuple[str, str]:
    """How it went, and what pytest printed, even if it was stopped."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=10", suite]
    command += ["--ignore", "tests/triton/test_compiled.py"]  # needs no GPU
    if importlib.util.find_spec("xdist"):
        command += ["-n", str(_processes())]
    try:
        done = subprocess.run(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        return f"stopped after {seconds:.0f} s", _text(error.stdout)
    return ("failed" if done.returncode else "passed"), _text(done.stdout)


def _text(output: bytes | None) -> str:
    return (output or b"").decode(errors="replace")[-20_000:]


def _processes() -> int:
    return min(_MOST_PROCESSES, os.cpu_count() or 1)


def main() -> int:
    import triton

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu-report"), help="folder for the answers and the report")
    parser.add_argument("--budget", type=float, default=3600.0, help="seconds in all")
    parser.add_argument("--only", default="", help="a regular expression: checks with this in their name, and no suite")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("there is no CUDA or ROCm device here")
    options.out.mkdir(parents=True, exist_ok=True)
    report, deadline = options.out.resolve() / "tests.md", time.monotonic() + options.budget
    device = torch.cuda.get_device_properties(0)
    lines = [
        "# Tests on a GPU",
        "",
        f"{device.name}, {device.multi_processor_count} multiprocessors, {device.total_memory / 2**30:.0f} GiB",
        f"torch {torch.__version__}, triton {triton.__version__}, Python {platform.python_version()}",
    ]
    report.write_text("\n".join(lines) + "\n")
    with ThreadPoolExecutor(_processes()) as pool:
        ask = partial(
            answer_part, parts=_processes(), folder=options.out.resolve(), deadline=deadline, only=options.only
        )
        found = [one for record in pool.map(ask, range(_processes())) for one in answers(record)]
    passed = bool(found) and all(one["answer"] == "ok" for one in found)
    lines += ["", f"## Checks: {sum(one['answer'] == 'ok' for one in found)} of {len(found)} are ok", "", *table(found)]
    report.write_text("\n".join(lines) + "\n")
    for suite in SUITES if importlib.util.find_spec("pytest") and not options.only else ():
        left = deadline - time.monotonic()
        went, printed = run_suite(suite, left) if left > 0 else ("no time", "")
        passed &= went == "passed"
        lines += ["", f"## {suite}: {went}", "", "```", printed, "```"]
        report.write_text("\n".join(lines) + "\n")
    return int(not passed)


if __name__ == "__main__":
    sys.exit(main())
