"""Running a recipe on tiny data, and looking at what it left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import train
from tests.retrieval.conftest import RECIPES, SMALL


def command(config: str, data: Path, out: Path, *more: str, settings: Sequence[str] = ()) -> list[str]:
    """Arguments of train.py for a recipe at the size of tiny data."""
    path = RECIPES / "configs" / f"{config}.toml"
    return [str(path), "--data", str(data), "--out", str(out), "--device", "cpu", *more, "--set", *SMALL, *settings]


def run(config: str, data: Path, out: Path, *more: str, settings: Sequence[str] = ()) -> int:
    """Run a recipe in this process, and return its exit status."""
    return train.main(command(config, data, out, *more, settings=settings))


def final_state(folder: Path, rank: int = 0) -> dict[str, Any]:
    """What the last checkpoint of a run holds, without the time that it took."""
    last = sorted((folder / "checkpoints").glob("epoch-*"))[-1]
    state = torch.load(last / f"rank{rank}.pt", weights_only=True)
    del state["position"]["seconds"]
    return state


def differences(first: Any, second: Any, path: str = "") -> list[str]:
    """Where two nests of dictionaries, sequences, tensors and numbers are not the same bits."""
    if isinstance(first, dict) and isinstance(second, dict) and first.keys() == second.keys():
        return [one for key in first for one in differences(first[key], second[key], f"{path}.{key}")]
    if isinstance(first, list | tuple) and isinstance(second, list | tuple) and len(first) == len(second):
        pairs = enumerate(zip(first, second, strict=True))
        return [one for i, (a, b) in pairs for one in differences(a, b, f"{path}[{i}]")]
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return [] if first.dtype == second.dtype and torch.equal(first, second) else [path]
    return [] if first == second else [path]
