"""The programs in examples/integrations run with the real libraries, and training helps.

Each is skipped without its library; ``.ci/nightly`` installs them all.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

PROGRAMS = Path(__file__).parents[2] / "examples" / "integrations"
# Of the other libraries, not ours.
pytestmark = pytest.mark.filterwarnings("default")

pytest.importorskip("sklearn")


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Import a program of examples/integrations."""
    monkeypatch.syspath_prepend(str(PROGRAMS))
    yield lambda name: importlib.import_module(name)
    for path in PROGRAMS.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("metric_learning_trainer", "pytorch_metric_learning"),
        ("lightning_module", "lightning"),
        ("accelerate_loop", "accelerate"),
        ("hf_trainer", "transformers"),
    ],
)
def test_training_pulls_unseen_classes_apart(program: Any, name: str, library: str) -> None:
    pytest.importorskip(library)
    found = program(name).main()
    assert found["after"] > found["before"] + 0.05
    if name == "hf_trainer":
        assert found["eval_loss"] < 0.1 and found["proxy_lr"] == pytest.approx(1e-2)


def test_parts_reach_tensorboard(program: Any, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    program("tensorboard_parts").main(str(tmp_path), epochs=1)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logged = {}
    for folder in tmp_path.iterdir():
        if folder.is_dir():
            events = EventAccumulator(str(folder)).Reload()
            logged[folder.name] = [event.value for event in events.Scalars("loss")]
    assert set(logged) == {"loss_total", "loss_pd", "loss_field", "loss_odba"}
    torch.testing.assert_close(
        torch.tensor(logged["loss_total"]), torch.tensor(logged["loss_pd"]) + 0.5 * torch.tensor(logged["loss_field"])
    )


def test_onnx_computes_the_same(program: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    found = program("export_onnx").main(str(tmp_path / "digits.onnx"), epochs=3)
    assert found["error"] < 1e-5 and found["accuracy"] > 0.9


def test_a_timm_backbone_on_a_folder(program: Any, tmp_path: Path) -> None:
    pytest.importorskip("timm", exc_type=(ImportError, RuntimeError))
    image = pytest.importorskip("PIL.Image")
    generator = torch.Generator().manual_seed(0)
    for label in range(3):
        (tmp_path / f"class{label}").mkdir()
        for k in range(8):
            pixels = torch.randint(40 * label, 120 + 60 * label, (64, 64, 3), generator=generator, dtype=torch.uint8)
            image.fromarray(pixels.numpy()).save(tmp_path / f"class{label}" / f"{k}.png")
    found = program("timm_folder").main(tmp_path, epochs=4, pretrained=False)
    assert found["last"] < found["first"]
