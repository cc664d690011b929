"""Two processes train as one does, sharded proxies included, and stop and resume together."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.retrieval.running import command, differences, final_state, run

pytestmark = pytest.mark.nightly
WORKER = Path(__file__).with_name("two_ranks.py")
SHARDED = ("distributed.shard_proxies=true", "train.clip_norm=1e9")
# Frozen BatchNorm: in training mode it would normalise each part of a batch by itself.
RECIPES = {
    "pd": ("pd_cub", ()),
    "field": ("pfml_cub", SHARDED),
    "couce": ("couce_cub", ("couce.invariance_weight=0.0",)),
}
STATUSES = {"pd": 0, "field": 0, "couce": 0, "parts": 128 + signal.SIGTERM, "parts again": 0}


@pytest.fixture(scope="module")
def ranks(data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of what two processes did: each recipe, and the sharded one in two parts."""
    folder = tmp_path_factory.mktemp("ranks")

    def planned(name: str, recipe: str, *more: str) -> list[str]:
        config, settings = RECIPES[recipe]
        return command(config, data("cub"), folder / name, *more, settings=settings)

    plan = [(planned(name, name), None) for name in RECIPES]
    plan += [(planned("parts", "field"), 4), (planned("parts", "field", "--resume"), None)]
    (folder / "plan.json").write_text(json.dumps(plan))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(WORKER)]
    done = subprocess.run(
        [*launch, str(folder / "plan.json")], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    for rank in range(2):
        assert json.loads((folder / f"plan.rank{rank}.json").read_text()) == list(STATUSES.values())
    assert done.stderr.count("stopped by SIGTERM") == 1
    return folder


@pytest.mark.parametrize("recipe", RECIPES)
def test_two_processes_train_as_one_does(data: Callable[[str], Path], tmp_path: Path, ranks: Path, recipe: str) -> None:
    config, settings = RECIPES[recipe]
    own = [setting for setting in settings if setting not in SHARDED]
    assert run(config, data("cub"), tmp_path, settings=own) == 0
    one, two = (json.loads(next(path.glob("*/result.json")).read_text()) for path in (tmp_path, ranks / recipe))
    assert (one["processes"], two["processes"]) == (1, 2)
    assert len(one["curve"]) == 3
    for first, second in zip(one["curve"], two["curve"], strict=True):
        shown = {"loss", "decidability"} & first.keys()  # no loss before training
        assert {name: second[name] for name in shown} == pytest.approx({name: first[name] for name in shown}, rel=5e-4)
    first, second = (final_state(next(path.glob("batch*"))) for path in (tmp_path, ranks / recipe))
    for name, weights in first["parts"]["network"].items():
        # AdamW moved them by some percent; where a gradient is next to nothing, its sign is noise.
        difference = second["parts"]["network"][name] - weights
        assert difference.double().norm() <= 1e-3 * weights.double().norm(), name


def test_each_rank_keeps_its_own_proxies(ranks: Path) -> None:
    parts = [final_state(ranks / "field" / "batch8-seed0", rank)["parts"] for rank in range(2)]
    assert [part["objective"]["base.proxies"].shape for part in parts] == [(30, 16), (30, 16)]  # 4 classes x 15
    moments = [part["optimisers"][1]["state"][0]["exp_avg"].shape for part in parts]
    assert moments == [(30, 16), (30, 16)]
    assert differences(parts[0]["network"], parts[1]["network"]) == []


def test_a_signal_to_one_rank_stops_all_and_resuming_goes_on_bit_for_bit(ranks: Path) -> None:
    for rank in range(2):
        whole, parts = (final_state(ranks / name / "batch8-seed0", rank) for name in ("field", "parts"))
        assert differences(whole, parts) == []


def test_another_number_of_processes_is_refused(
    data: Callable[[str], Path], ranks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ranks / "pd"
    (folder / "batch8-seed0" / "result.json").unlink()
    assert run("pd_cub", data("cub"), folder, "--resume") == 1
    assert "was written by 2 process(es), expected 1 as now" in capsys.readouterr().err


def test_one_process_has_nothing_to_shard_over(
    data: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("pfml_cub", data("cub"), tmp_path, settings=SHARDED) == 1
    assert "one process has nothing to shard over" in capsys.readouterr().err
