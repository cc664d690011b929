"""Checkpoints that are whole or not there: a folder per checkpoint, a file per rank, a manifest with their hashes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch

from retrieval_lib.errors import CheckpointError
from retrieval_lib.world import World

MANIFEST = "manifest.json"
FORMAT = 1


def save_checkpoint(folder: Path, name: str, state: dict[str, Any], world: World, *, keep: int) -> Path:
    """Write every rank's state to ``folder/name``, and forget all but the last ``keep`` checkpoints.

    All files are on the disk before the folder gets its name, so that a crash at any time leaves the old checkpoints.
    """
    target, unfinished = folder / name, folder / f".{name}.unfinished"
    if world.is_main:
        for left in folder.glob(".epoch-*"):  # by a crash
            shutil.rmtree(left)
        unfinished.mkdir(parents=True)
    world.barrier()
    file = unfinished / f"rank{world.rank}.pt"
    with file.open("wb") as stream:
        torch.save(state, stream)
        stream.flush()
        os.fsync(stream.fileno())
    digests = world.gathered(_digest(file))
    if world.is_main:
        manifest = {"format": FORMAT, "files": {f"rank{rank}.pt": one for rank, one in enumerate(digests)}}
        with (unfinished / MANIFEST).open("w") as stream:
            json.dump(manifest, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        _sync_folder(unfinished)
        replaced = folder / f".{name}.replaced"
        if target.exists():  # damaged, or of an interruption at the same step
            target.rename(replaced)
        unfinished.rename(target)
        _sync_folder(folder)
        shutil.rmtree(replaced, ignore_errors=True)
        for old in checkpoints(folder)[:-keep]:
            shutil.rmtree(old)
    world.barrier()
    return target


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoints in the order of training."""
    found = [path for path in folder.glob("epoch-*") if re.fullmatch(r"epoch-\d+-step-\d+", path.name)]
    return sorted(found, key=lambda path: [int(number) for number in re.findall(r"\d+", path.name)])


def checkpoint_name(epoch: int, step: int) -> str:
    """Of a state after ``step`` steps of an epoch."""
    return f"epoch-{epoch:04d}-step-{step:06d}"


def load_checkpoint(path: Path, world: World) -> dict[str, Any]:
    """This rank's state; a checkpoint that is damaged in any part is refused by all ranks."""
    try:
        state, problem = _load(path, world), ""
    except CheckpointError as error:
        state, problem = {}, str(error)
    problems = [one for one in world.gathered(problem) if one]
    if problems:
        raise CheckpointError(problems[0])
    return state


def _load(path: Path, world: World) -> dict[str, Any]:
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        files = manifest["files"]
        version = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path / MANIFEST}: damaged ({type(error).__name__}: {error})") from error
    if version != FORMAT:
        raise CheckpointError(f"{path}: has format {version}, expected {FORMAT}")
    if len(files) != world.size:
        raise CheckpointError(f"{path}: was written by {len(files)} process(es), expected {world.size} as now")
    file = path / f"rank{world.rank}.pt"
    if not file.is_file():
        raise CheckpointError(f"{file}: is missing")
    if _digest(file) != files[file.name]:
        raise CheckpointError(f"{file}: damaged, its SHA-256 is not the one in {MANIFEST}")
    return torch.load(file, map_location="cpu", weights_only=True)


def latest_checkpoint(folder: Path, world: World) -> tuple[Path, dict[str, Any], list[str]]:
    """The newest checkpoint that is whole, its state, and what is wrong with newer ones."""
    problems: list[str] = []
    for path in reversed(world.from_main(checkpoints(folder))):
        try:
            return path, load_checkpoint(path, world), problems
        except CheckpointError as error:
            problems.append(str(error))
    found = "\n".join(problems) if problems else f"{folder}: holds none"
    raise CheckpointError(f"no checkpoint to resume from:\n{found}")


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # folders cannot be opened there
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
