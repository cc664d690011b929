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
PICTURES = (
    "batches.png",
    "classes.png",
    "confounder.png",
    "field.png",
    "images.png",
    "losses.png",
    "scores.png",
)


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


def test_tables_have_every_loss(quick: tuple[Path, str, dict[str, Any]]) -> None:
    tables = [
        [line.split("|")[1].strip() for line in part.splitlines() if line.startswith("| ")][1:]
        for part in quick[1].split("\n# ")[1:]
    ]
    losses, noise, batches, growth, confounder = tables
    assert losses == [
        "*raw pixels, no network*",
        "*before training*",
        "Normalised softmax",
        "Proxy-Anchor",
        "PD-Loss",
        "D-Loss (no proxies)",
        "Potential field, α = 1",
        "PD-Loss + 0.1 field",
    ]
    assert len(noise) == 6 and batches == ["PD-Loss", "D-Loss (no proxies)"]
    assert growth == ["PD-Loss", "normalised softmax", "softmax in plain PyTorch"]
    assert confounder[2:] == [
        "Proxy-Anchor",
        "Proxy-Anchor + ODBA",
        "Proxy-Anchor + MSRCI",
        "Proxy-Anchor + 50 MSRCI on the image",
        "Proxy-Anchor, no confounder in training",
    ]


def test_nothing_of_the_size_of_the_scores_is_saved(quick: tuple[Path, str, dict[str, Any]]) -> None:
    saved = {point["loss"]: point["saved"] for point in quick[2]["growth"]}
    scores = 256 * 1000 * 4
    assert saved["softmax in plain PyTorch"] > scores
    assert saved["PD-Loss"] < scores / 4 and saved["normalised softmax"] < scores / 4


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example's modules, on one thread as it runs them."""
    monkeypatch.syspath_prepend(str(EXAMPLE.parent))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("loss", ["softmax", "d"])
def test_training_beats_the_untrained_network_and_raw_pixels(loss: str) -> None:
    from digits_lib.training import Job, run

    found = run(Job(loss, seed=1, epochs=10))
    for name in ("recall_at_1", "map_at_r"):
        assert found.after[name] > 1.5 * max(found.before[name], found.raw_pixels[name]), name
    assert found.after["decidability"] > found.raw_pixels["decidability"] + 0.5


@pytest.mark.usefixtures("library")
def test_jobs_of_one_seed_begin_alike_and_noise_matters() -> None:
    from digits_lib.training import Job, run

    job = Job("pd", seed=1, epochs=1)
    clean, again, noisy = run(job), run(job), run(dataclasses.replace(job, noise=0.5))
    assert clean.after == again.after
    assert noisy.before == clean.before and noisy.after != clean.after


@pytest.mark.usefixtures("library")
def test_noise_flips_its_share_of_labels() -> None:
    from digits_lib.data import TRAIN_CLASSES, instances, with_noise

    clean = instances(0)[0].labels
    noisy = with_noise(clean, 0.2, seed=0)
    assert (noisy != clean).sum() == round(0.2 * len(clean))
    assert set(noisy.tolist()) == set(range(TRAIN_CLASSES))
    assert with_noise(clean, 0.0, seed=0).equal(clean)


@pytest.mark.usefixtures("library")
def test_textures_follow_the_class_in_confounded_training_only() -> None:
    from digits_lib.data import TEXTURES, instances

    train, test = instances(0, "confounded")
    generator = torch.Generator().manual_seed(0)
    follow = (train.views(generator)[1] == train.labels % TEXTURES).float().mean()
    assert follow > 0.85
    for split in (test, *instances(0, "shuffled")):
        follow = (split.views(generator)[1] == split.labels % TEXTURES).float().mean()
        assert abs(follow - 1 / TEXTURES) < 0.05
