"""For the tests of the retrieval recipes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

NEEDED = ("sklearn", "scipy", "matplotlib", "PIL", "tqdm", "pytorch_metric_learning")
collect_ignore_glob = [] if all(map(find_spec, NEEDED)) else ["*"]

RECIPES = Path(__file__).parents[2] / "examples" / "retrieval"
sys.path.insert(0, str(RECIPES))


# What the tiny data need: a network of their size, two epochs, no processes beside this one.
SMALL = (
    "model.backbone=builtin",
    "model.embedding_size=16",
    "couce.atoms=4",
    "data.resize=32",
    "data.crop=32",
    "data.workers=0",
    "train.epochs=2",
    "train.batch_size=8",
    "train.lr=1e-3",
    "train.warmup_epochs=1",
    "evaluation.every=1",
    "evaluation.recall_at=[1,2]",
    "sweep.seeds=1",
)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a tiny data set, made once; not to be changed."""
    from tests.retrieval.tiny import MAKERS

    made: dict[str, Path] = {}

    def folder(layout: str) -> Path:
        if layout not in made:
            made[layout] = MAKERS[layout](tmp_path_factory.mktemp(layout))
        return made[layout]

    return folder
