"""The checks that a GPU is asked first: their order, and a record that survives whatever ends a run."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton")

from dmlkernels.statistics import CATALOGUE
from tests.gpu import __main__ as command
from tests.gpu import first
from tests.gpu.first import BROKEN, Check, in_order, part_of, run
from tests.triton.common import KINDS


def fails() -> None:
    raise AssertionError("statistics: error\n1e-1")


def breaks() -> None:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def nothing() -> None:
    pass


def test_each_check_once_and_each_epilogue_first() -> None:
    names = [check.name for check in in_order()]
    assert len(set(names)) == len(names)
    kinds = [name.rpartition(" ")[2] for name in names[: len(first.EPILOGUES)]]
    assert set(kinds) <= set(KINDS)
    assert all(any(kind.startswith(statistic) for kind in kinds) for statistic in CATALOGUE)
    assert all(name.startswith("bfloat16, small") for name in names[: len(first.EPILOGUES)])


def test_answers_are_written_as_they_come(tmp_path: Path) -> None:
    asked = [Check("good", nothing), Check("bad", fails), Check("last", nothing)]
    assert run(asked, 60, tmp_path / "record") == 1
    answers = command.answers(tmp_path / "record")
    assert [one["answer"] for one in answers] == ["ok", "AssertionError: statistics: error 1e-1", "ok"]
    assert "| bad | AssertionError" in command.table(answers)[2]


def test_a_broken_device_ends_the_process(tmp_path: Path) -> None:
    assert run([Check("breaks", breaks), Check("after", nothing)], 60, tmp_path / "record") == BROKEN
    assert [one["check"] for one in command.answers(tmp_path / "record")] == ["breaks"]


def test_what_there_is_no_time_for_is_recorded(tmp_path: Path) -> None:
    assert run([Check("late", fails)], -1, tmp_path / "record") == 0
    assert command.answers(tmp_path / "record") == [{"check": "late", "answer": "no time", "seconds": 0.0}]


def test_a_process_that_dies_has_a_successor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four checks the first breaks the device, the second kills its process, and the third hangs."""
    names = ["breaks", "dies", "hangs", "good"]

    def started(asked: list[str], timeout: float, **_: Any) -> subprocess.CompletedProcess[str]:
        record, skip = Path(asked[3]), int(asked[asked.index("--skip") + 1])
        if names[skip] == "hangs":
            raise subprocess.TimeoutExpired(asked, timeout)
        if names[skip] == "dies":
            return subprocess.CompletedProcess(asked, -11)
        with record.open("a") as lines:
            lines.write(json.dumps({"check": names[skip], "answer": "CUDA error" if not skip else "ok", "seconds": 1}))
            lines.write("\n")
        return subprocess.CompletedProcess(asked, 0 if skip else BROKEN)

    monkeypatch.setattr(command, "part_of", lambda part, only: [Check(name, nothing) for name in names])
    monkeypatch.setattr(subprocess, "run", started)
    found = command.answers(command.answer_part(0, 1, tmp_path, time.monotonic() + 60, ""))
    assert [(one["check"], one["answer"]) for one in found] == [
        ("breaks", "CUDA error"), ("dies", "its process ended with status -11"), ("hangs", "hangs"), ("good", "ok"),
    ]  # fmt: skip


def test_checks_are_chosen_by_name() -> None:
    chosen = [check.name for check in part_of("0/1", "tf32.*(field|fused)")]
    assert chosen == ["tf32, field", "tf32, fused"]
    assert [check.name for check in part_of("1/2", "tf32.*(field|fused)")] == chosen[1:]


def test_the_parts_are_all(tmp_path: Path) -> None:
    """As a process that has no time is started: every check is in one part, with its name."""
    for part in range(3):
        asked = [sys.executable, "-m", "tests.gpu.first", str(tmp_path / "record"), "--seconds=-1"]
        subprocess.run([*asked, f"--part={part}/3"], cwd=command.ROOT, check=True, capture_output=True)
    names = [one["check"] for one in command.answers(tmp_path / "record")]
    assert sorted(map(str, names)) == sorted(check.name for check in in_order())
