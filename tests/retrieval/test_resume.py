"""Interrupted training goes on bit for bit; damaged checkpoints are noticed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from retrieval_lib.engine.parts import Parts
from retrieval_lib.engine.trainer import Trainer
from tests.retrieval.conftest import RECIPES
from tests.retrieval.running import command, differences, final_state, run

Folder = Callable[[str], Path]
RUN = "batch8-seed0"

# Random draws in the step (couce), a validation split with its best epoch, class means and a gradient scaler.
CASES = {
    "couce_cub": (),
    "folders": ("data.images_per_class=2", "train.schedule=cosine"),
    "pd_cub": ("train.precision=float16", "data.resize=16", "data.crop=16"),  # small: float16 is slow on a CPU
}


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Raise SIGTERM in the given step, as if it came from outside."""
    original, count = Parts.step, 0

    def step(self: Parts, *batch: object) -> object:
        nonlocal count
        count += 1
        if count == steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *batch)

    monkeypatch.setattr(Parts, "step", step)


@pytest.mark.parametrize("config", CASES)
def test_resuming_goes_on_bit_for_bit(
    data: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str
) -> None:
    layout = config.rpartition("_")[2]
    settings = ["train.epochs=3", *CASES[config]]
    assert run(config, data(layout), tmp_path / "whole", settings=settings) == 0
    for steps in (2, 1, 3):
        with monkeypatch.context() as patch:
            stop_after(patch, steps)
            more = ["--resume"] if (tmp_path / "parts").exists() else []
            status = run(config, data(layout), tmp_path / "parts", *more, settings=settings)
        assert status == 128 + signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert run(config, data(layout), tmp_path / "parts", "--resume", settings=[*settings, "data.workers=2"]) == 0
    whole, parts = (final_state(tmp_path / name / RUN) for name in ("whole", "parts"))
    assert whole["position"]["epoch"] == 3
    assert differences(whole, parts) == []


def test_a_stop_during_evaluation_repeats_it(data: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("pd_cub", data("cub"), tmp_path / "whole") == 0
    with monkeypatch.context() as patch:
        evaluate, calls = Trainer.embed_test, []

        def embed_test(trainer: Trainer) -> object:
            calls.append(None)
            if len(calls) == 2:  # after the first epoch
                os.kill(os.getpid(), signal.SIGINT)
            return evaluate(trainer)

        patch.setattr(Trainer, "embed_test", embed_test)
        assert run("pd_cub", data("cub"), tmp_path / "parts") == 128 + signal.SIGINT
    assert final_state(tmp_path / "parts" / RUN)["position"]["step"] == 3
    assert run("pd_cub", data("cub"), tmp_path / "parts", "--resume") == 0
    whole, parts = (final_state(tmp_path / name / RUN) for name in ("whole", "parts"))
    assert differences(whole, parts) == []


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("number", "workers"), [(signal.SIGINT, 2), (signal.SIGTERM, 1)])
def test_a_signal_to_the_whole_process_group_saves_and_exits(
    data: Folder, tmp_path: Path, number: signal.Signals, workers: int
) -> None:
    settings = ["train.epochs=400", "evaluation.every=400", f"data.workers={workers}"]
    arguments = command("pd_cub", data("cub"), tmp_path, settings=settings)
    with subprocess.Popen(
        [sys.executable, str(RECIPES / "train.py"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        wait_for(lambda: any(tmp_path.glob("*/checkpoints/epoch-0001-*")), process)
        os.killpg(process.pid, number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert f"stopped by {number.name}; the same command with --resume goes on" in errors
    assert "Traceback" not in errors
    state = final_state(tmp_path / RUN)
    assert 1 <= state["position"]["epoch"] < 400
    assert not list(tmp_path.glob("*/checkpoints/.*"))


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def spoiled(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a flipped bit": lambda folder: spoiled(folder / "rank0.pt"),
    "a cut file": lambda folder: (folder / "rank0.pt").write_bytes(b"PK"),
    "no state": lambda folder: (folder / "rank0.pt").unlink(),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "a cut manifest": lambda folder: (folder / "manifest.json").write_text('{"format": 1, "fi'),
}


@pytest.fixture(scope="module")
def whole(data: Folder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("whole")
    assert run("pd_cub", data("cub"), folder) == 0
    return folder / RUN


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_refused_and_the_one_before_is_used(
    data: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str], whole: Path, damage: str
) -> None:
    folder = copied(whole, tmp_path)
    before, last = sorted((folder / "checkpoints").glob("epoch-*"))
    DAMAGES[damage](last)
    assert run("pd_cub", data("cub"), tmp_path, "--resume") == 0
    printed = capsys.readouterr().out
    assert f"warning: {last}/" in printed and "using the checkpoint before it" in printed
    assert "epoch 1:" not in printed and "epoch 2:" in printed
    assert before.exists()
    assert differences(final_state(folder), final_state(whole)) == []


def copied(run_folder: Path, to: Path) -> Path:
    """A run that has not written its result yet."""
    shutil.copytree(run_folder, to / RUN)
    (to / RUN / "result.json").unlink()
    return to / RUN


def test_without_a_whole_checkpoint_the_damage_is_told(
    data: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str], whole: Path
) -> None:
    folder = copied(whole, tmp_path)
    for checkpoint in (folder / "checkpoints").iterdir():
        spoiled(checkpoint / "rank0.pt")
    assert run("pd_cub", data("cub"), tmp_path, "--resume") == 1
    message = capsys.readouterr().err
    assert message.count("damaged, its SHA-256 is not the one in manifest.json") == 2


def test_a_crash_while_saving_leaves_the_checkpoints_before(
    data: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    original, saved = torch.save, []

    def save(state: object, stream: BinaryIO) -> None:
        saved.append(state)
        if len(saved) == 3:  # after the second epoch
            stream.write(b"half of it")
            raise OSError("no space left")
        original(state, stream)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", save)
        with pytest.raises(OSError, match="no space left"):
            run("pd_cub", data("cub"), tmp_path)
    folder = tmp_path / RUN / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == [
        ".epoch-0002-step-000000.unfinished",
        "epoch-0000-step-000000",
        "epoch-0001-step-000000",
    ]
    assert run("pd_cub", data("cub"), tmp_path, "--resume") == 0
    assert not list(folder.glob(".*"))
    assert differences(final_state(tmp_path / RUN), final_state(whole)) == []


@pytest.mark.parametrize(
    ("more", "settings", "message"),
    [
        ([], (), "holds a run; --resume goes on with it"),
        (["--resume"], ("train.lr=2e-3",), "other settings (train.lr = 0.002, was 0.001)"),
    ],
)
def test_a_run_is_not_mixed_with_another(
    data: Folder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    whole: Path,
    more: Sequence[str],
    settings: Sequence[str],
    message: str,
) -> None:
    copied(whole, tmp_path)
    assert run("pd_cub", data("cub"), tmp_path, *more, settings=settings) == 1
    assert message in capsys.readouterr().err
