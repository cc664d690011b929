"""The distributed example trains, saves, goes on with another number of processes, and finds itself equal to one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from torch import distributed

pytest.importorskip("sklearn")

EXAMPLE = Path(__file__).parents[2] / "examples" / "distributed.py"


def run(processes: int, folder: Path, *options: str) -> str:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    done = subprocess.run(
        [*command, str(EXAMPLE), "--steps", "12", "--folder", str(folder), *options],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(not distributed.is_gloo_available(), reason="gloo is not built into this torch")
def test_trains_saves_and_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    first = run(2, folder)
    assert "| 2 processes, from the start |" in first
    assert (folder / ".metadata").exists() and len(list(folder.glob("*.distcp"))) == 2
    then = run(1, folder, "--resume")
    assert "| 1 process, from the checkpoint at step 6 |" in then
    for printed in (first, then):
        lines = [line.split("|") for line in printed.splitlines() if "step" in line or "largest" in line]
        differences = [float(line[4]) for line in lines if "e" in line[4] and "difference" not in line[4]]
        assert len(differences) >= 4 and max(differences) < 1e-10
