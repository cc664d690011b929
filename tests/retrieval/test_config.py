"""Settings: every recipe's file, overrides, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrieval_lib.config_file import read_config
from retrieval_lib.errors import ConfigError
from retrieval_lib.objective import make_loss
from retrieval_lib.report.published import published_rows
from tests.retrieval.conftest import RECIPES

CONFIGS = sorted((RECIPES / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_recipe_is_valid(path: Path) -> None:
    config = read_config(path)
    make_loss(config, num_classes=4)
    assert path.stem.endswith(config.data.layout)
    assert config.couce.enabled == (config.paper == "couce")


def test_there_is_a_recipe_for_every_paper_and_data_set() -> None:
    expected = {f"{paper}_{data}" for paper in ("pd", "pfml", "couce") for data in ("cub", "cars", "sop", "inshop")}
    assert {path.stem for path in CONFIGS} == expected | {"pd_lfw", "folders"}


def test_the_papers_settings() -> None:
    """Those that papers.md knows from the papers."""
    pd, pfml, sop, couce = (
        read_config(RECIPES / "configs" / f"{name}.toml") for name in ("pd_cub", "pfml_cub", "pfml_sop", "couce_cub")
    )
    assert (pd.train.batch_size, pd.train.epochs, pd.model.embedding_size) == (32, 500, 512)
    assert pfml.loss.options["proxies_per_class"] == 15 and sop.loss.options["proxies_per_class"] == 2
    assert (pfml.loss.options["alpha"], pfml.loss.options["delta_att"]) == (3.0, 0.2)
    assert (pfml.train.batch_size, pfml.train.epochs, pfml.train.weight_decay) == (100, 200, 5e-4)
    assert (couce.train.epochs, couce.sweep.seeds, couce.train.warmup_epochs) == (80, 3, 5)


def test_settings_of_the_command_line_win(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('[train]\nepochs = 3\n[loss]\nname = "pd"\n')
    config = read_config(path, ["train.epochs=7", "train.lr=1", "model.backbone=tiny", "loss.options.form=neg"])
    assert (config.train.epochs, config.train.lr, config.model.backbone) == (7, 1.0, "tiny")
    assert config.loss.options == {"form": "neg"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nepoch = 3", r"a\.toml: train\.epoch is no setting; did you mean train\.epochs\?"),
        ("[trian]\nepochs = 3", r"trian is no setting; did you mean train\?"),
        ("[train]\nepochs = 3.5", r"train\.epochs: got 3\.5, expected int"),
        ("[train]\ncompile = 1", r"train\.compile: got 1, expected bool"),
        ("train = 3", r"train: got 3, expected a section"),
        ("[train", r"a\.toml: not TOML"),
        ("[train]\nepochs = 0", r"train\.epochs: got 0, expected a positive number"),
        ("[evaluation]\nrecall_at = [0]", r"recall_at\[0\]: got 0"),
        ("[evaluation]\nrecall_at = []", r"recall_at: got an empty list"),
        ("[data]\nlabel_noise = 1.0", r"data\.label_noise: got 1\.0, expected a share in \[0, 1\)"),
        ("[data]\nlayout = 'cup'", r"data\.layout: got 'cup', expected one of cub, cars"),
        ("[data]\nresize = 100", r"data\.resize: got 100, expected at least data\.crop = 224"),
        (
            "[evaluation]\nchoose = 'validation'",
            r"evaluation\.choose = 'validation' with data\.validation_share = 0\.0",
        ),
        ("[data]\nvalidation_share = 0.2", r"evaluation\.choose = 'last' with data\.validation_share = 0\.2"),
        ("[train]\nwarmup_epochs = 99", r"train\.warmup_epochs: got 99"),
        ("[train]\nlr = nan", r"train\.lr: got nan, expected a positive number"),
        ("[train]\nclip_norm = -1.0", r"train\.clip_norm: got -1\.0, expected a number of at least 0"),
        ("[train]\nproxy_lr_factor = inf", r"train\.proxy_lr_factor: got inf"),
        ("[data]\nworkers = -1", r"data\.workers: got -1"),
        ("[couce]\nodba_weight = -1.0", r"couce\.odba_weight: got -1\.0"),
        ("[model]\nembedding_size = 1", r"model\.embedding_size: got 1, expected at least 2"),
        ("[train]\ncompile = true\n[couce]\nenabled = true", r"train\.compile: a compiled network"),
    ],
)
def test_what_no_run_could_do_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_config(path)


def test_a_wrong_option_of_a_loss_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('[loss]\nname = "field"\n[loss.options]\nalpah = 3.0')
    with pytest.raises(ConfigError, match=r"loss\.options: alpah: not an option"):
        make_loss(read_config(path), num_classes=4)


def test_published_numbers_have_a_source() -> None:
    for layout, best in (("cub", 87.8), ("cars", 94.7), ("sop", 88.2)):
        rows = published_rows(layout)
        assert max(row.get("recall_at_1", 0) for row in rows) == best
        assert all(row["source"] for row in rows)
