"""One run: a configuration with a seed and a batch size, and the folder of its files."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval_lib.config import Config, as_dict
from retrieval_lib.errors import CheckpointError

RESULT = "result.json"
# Settings that may differ when a run is resumed: none changes a number.
FREE = ("title", "data.root", "data.train_root", "data.workers", "train.keep_checkpoints", "sweep")


@dataclass(frozen=True)
class Job:
    config: Config
    seed: int
    batch_size: int
    folder: Path

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def result(self) -> dict[str, Any] | None:
        """What a finished run wrote."""
        path = self.folder / RESULT
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def write_result(self, result: dict[str, Any]) -> None:
        """All at once, so that a result is whole or not there."""
        unfinished = self.folder / f".{RESULT}.unfinished"
        with unfinished.open("w", encoding="utf-8") as stream:
            json.dump(result, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(self.folder / RESULT)

    def identity(self) -> dict[str, Any]:
        """What must be equal for a checkpoint to be of this run."""
        flat = {"seed": self.seed, "batch_size": self.batch_size}
        for section, values in as_dict(self.config).items():
            entries = values if isinstance(values, dict) else {"": values}
            flat |= {f"{section}.{name}".rstrip("."): value for name, value in entries.items()}
        return {
            name: value
            for name, value in flat.items()
            if name not in FREE and name.split(".", maxsplit=1)[0] not in FREE
        }

    def check_identity(self, stored: dict[str, Any], source: Path) -> None:
        """Refuse to continue a run under other settings."""
        wanted = self.identity()
        differing = [name for name in sorted({*stored, *wanted}) if stored.get(name) != wanted.get(name)]
        if differing:
            changes = ", ".join(f"{name} = {wanted.get(name)!r}, was {stored.get(name)!r}" for name in differing)
            raise CheckpointError(f"{source}: is of a run with other settings ({changes})")


def jobs_of(config: Config, folder: Path) -> list[Job]:
    """One for each batch size and seed."""
    sizes = config.sweep.batch_sizes or [config.train.batch_size]
    return [
        Job(config, seed, size, folder / f"batch{size}-seed{seed}")
        for size in sizes
        for seed in range(config.sweep.seeds)
    ]
