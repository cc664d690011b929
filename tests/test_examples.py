"""The digits example runs, learns, and writes what it promises."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")
pytest.importorskip("pytorch_metric_learning")

EXAMPLE = Path(__file__).parents[1] / "examples" / "digits.py"
PICTURES = ("confounder.png", "curves.png", "field.png", "images.png", "scores.png")


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, dict[str, Any]]:
    """Output folder, what was printed, and the numbers."""
    folder = tmp_path_factory.mktemp("digits")
    command = [sys.executable, str(EXAMPLE), "--quick", "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return folder, done.stdout, json.loads((folder / "results.json").read_text())


def test_writes_pictures_and_numbers(quick: tuple[Path, str, dict[str, Any]]) -> None:
    folder, printed, _ = quick
    assert sorted(path.name for path in folder.iterdir()) == sorted((*PICTURES, "results.json", "results.md"))
    for name in PICTURES:
        assert (folder / name).read_bytes().startswith(b"\x89PNG"), name
    assert (folder / "results.md").read_text() in printed


def test_table_has_every_loss(quick: tuple[Path, str, dict[str, Any]]) -> None:
    rows = [line.split("|")[1].strip() for line in quick[1].splitlines() if line.startswith("| ")]
    plain, confounded = rows[1:10], rows[11:]
    assert plain[2:] == [
        "PD-Loss",
        "D-Loss",
        "Potential field",
        "PD-Loss + ODBA",
        "Fused PD + field + ODBA",
        "Proxy-Anchor",
        "Proxy-Anchor + CouCE",
    ]
    assert confounded[2:] == [
        "Proxy-Anchor",
        "Proxy-Anchor + ODBA",
        "Proxy-Anchor + MSRCI",
        "Proxy-Anchor + CouCE",
        "Proxy-Anchor, no confounder in training",
    ]


def test_every_loss_learns(quick: tuple[Path, str, dict[str, Any]]) -> None:
    runs = [run for run in quick[2]["runs"] if run["job"]["background"] == "black"]
    assert len(runs) == 7
    for run in runs:
        before, after = run["curve"][0], run["curve"][-1]
        assert after["recall_at_1"] > before["recall_at_1"] + 0.02, run["job"]
        assert after["map_at_r"] > before["map_at_r"] + 0.02, run["job"]
        assert after["decidability"] > before["decidability"] + 0.1, run["job"]


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_noise_option_reaches_every_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE.parent))
    import digits

    plain, confounded = digits.jobs(digits.parse(["--noise", "0.2", "--epochs", "1", "--losses", "d"]))
    assert len(plain) == 3 and len(confounded) == 15
    assert {job.noise for job in plain + confounded} == {0.2}
    assert digits.jobs(digits.parse(["--no-confounder"]))[1] == []
    noisy, clean = digits.run(plain[0]), digits.run(dataclasses.replace(plain[0], noise=0.0))
    assert noisy.before == clean.before
    assert noisy.after != clean.after


def test_noise_flips_its_share_of_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE.parent))
    from digits_lib.data import TRAIN_CLASSES, digits_task, with_noise

    clean = digits_task(0)[0].labels
    noisy = with_noise(clean, 0.2, seed=0)
    assert (noisy != clean).sum() == round(0.2 * len(clean))
    assert set(noisy.tolist()) == set(range(TRAIN_CLASSES))
    assert with_noise(clean, 0.0, seed=0).equal(clean)


def test_textures_follow_the_class_in_confounded_training_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE.parent))
    from digits_lib.data import TEXTURES, digits_task

    train, test = digits_task(0, "confounded")
    assert (train.textures == train.labels).float().mean() > 0.85
    assert abs((test.textures == test.labels % TEXTURES).float().mean() - 1 / TEXTURES) < 0.05
    train, _ = digits_task(0, "shuffled")
    assert abs((train.textures == train.labels).float().mean() - 1 / TEXTURES) < 0.05
