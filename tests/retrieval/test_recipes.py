"""Every recipe runs from its data set's own files to the report."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.retrieval.conftest import RECIPES
from tests.retrieval.running import run

CONFIGS = sorted(path.stem for path in (RECIPES / "configs").glob("*.toml"))
Folder = Callable[[str], Path]


class Page(HTMLParser):
    """The text of a page, the headings in it, and where its pictures are from."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text, self.headings, self.sources, self.tag = "", [], [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tag = tag
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        if self.tag != "style":
            self.text += data
        if self.tag == "h2":
            self.headings.append(data)
            self.tag = ""


def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*/result.json"))]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("config", CONFIGS)
def test_recipe_runs_end_to_end(data: Folder, tmp_path: Path, config: str) -> None:
    layout = config.rpartition("_")[2]
    settings = ["data.images_per_class=2"] if layout == "folders" else []
    assert run(config, data(layout), tmp_path, settings=settings) == 0
    (result,) = results(tmp_path)
    assert [point["epoch"] for point in result["curve"]] == [0, 1, 2]
    assert result["curve"][1]["loss"] != result["curve"][2]["loss"]
    metrics = {"lfw": ["accuracy"]}.get(layout, ["recall_at_1", "recall_at_2", "map_at_r"])
    for name in (*metrics, "decidability"):
        assert math.isfinite(result["final"][name])
    assert all(0 <= result["final"][name] <= 1 for name in metrics)
    assert result["curve_split"] == ("validation" if config == "folders" else "test")
    if config != "folders":
        assert result["epoch"] == 2
        assert result["final"] == {name: result["curve"][-1][name] for name in result["final"]}
    page = Page(tmp_path / "report.html")
    assert page.sources and all(source.startswith("data:image/") for source in page.sources)
    examples = "Hardest pairs" if layout == "lfw" else "Retrieval examples"
    for heading in ("Our results", "Curves", "Scores", examples, "Potential field", "Configuration", "Versions"):
        assert heading in page.headings
    if layout in ("cub", "cars", "sop"):
        assert {"cub": "73.4 ± 0.3", "cars": "92.7 ± 0.3", "sop": "82.9 ± 0.2"}[layout] in page.text
        assert "not run here" in page.text
        assert "Ours are not comparable with any of these: the data are not the whole" in page.text


def test_seeds_and_batch_sizes_are_swept(data: Folder, tmp_path: Path) -> None:
    assert run("pd_cub", data("cub"), tmp_path, "--seeds", "2", "--batch-sizes", "4", "8") == 0
    found = {(result["batch_size"], result["seed"]): result["final"]["decidability"] for result in results(tmp_path)}
    assert list(found) == [(4, 0), (4, 1), (8, 0), (8, 1)]
    assert len(set(found.values())) == 4
    page = Page(tmp_path / "report.html")
    mean, deviation = (found[4, 0] + found[4, 1]) / 2, abs(found[4, 0] - found[4, 1]) / 2**0.5
    assert f"{mean:.2f} ± {deviation:.2f}" in page.text
    assert "4 runs" in page.text


def test_the_epoch_is_chosen_on_the_validation_classes(data: Folder, tmp_path: Path) -> None:
    settings = ["data.images_per_class=2", "train.epochs=5"]
    assert run("folders", data("folders"), tmp_path, settings=settings) == 0
    (result,) = results(tmp_path)
    recalls = [point["recall_at_1"] for point in result["curve"]]
    assert result["epoch"] == recalls.index(max(recalls))
    assert result["task"]["train_classes"] == 4  # of 6, two held out


@pytest.mark.parametrize(
    "settings",
    [
        ("train.precision=bfloat16", "train.clip_norm=1.0"),
        ("train.clip_value=0.1", "train.compile=false"),
        ("train.schedule=step", "train.step_epochs=1", "data.label_noise=0.2"),
        ("model.freeze_batchnorm=true", "model.pooling=max"),
        (
            "loss.name=d",
            "loss.options={}",
            "loss.proxy_init=random",
            "data.sampler=per_class",
            "data.images_per_class=2",
        ),
        ("loss.name=soft_triple", "loss.options={centers_per_class=2}"),
    ],
    ids=lambda settings: settings[0],
)
def test_options_of_training(data: Folder, tmp_path: Path, settings: tuple[str, ...]) -> None:
    assert run("pd_cub", data("cub"), tmp_path, settings=settings) == 0
    (result,) = results(tmp_path)
    assert math.isfinite(result["curve"][-1]["loss"])


def test_a_stand_in_for_a_backbone_is_announced(
    data: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval_lib.backbones._optional", lambda name: None)
    assert run("pd_cub", data("cub"), tmp_path, settings=["model.backbone=resnet50", "train.epochs=1"]) == 0
    expected = "the small built-in network stands in for resnet50"
    assert expected in capsys.readouterr().out
    assert expected in Page(tmp_path / "report.html").text


def test_a_loss_that_is_not_finite_stops_the_run(
    data: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("pd_cub", data("cub"), tmp_path, settings=["train.lr=1e30", "train.clip_norm=0.0"]) == 1
    assert "the loss is nan" in capsys.readouterr().err
    assert not list(tmp_path.glob("*/result.json"))
