"""Two ranks keep equal dictionaries, those of one process with both batches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, multiprocessing

from dmlkernels.couce.dictionary import BackgroundDictionary

STEPS = 12


def batches(step: int) -> tuple[Tensor, Tensor]:
    """Of different sizes, one of them sometimes empty or with a broken row; from new directions half way."""
    generator = torch.Generator().manual_seed(step)
    directions = torch.eye(16, dtype=torch.float64)[(0 if step < STEPS // 2 else 5) :][:5]
    rows = directions.repeat(3, 1) + 0.1 * torch.randn(15, 16, dtype=torch.float64, generator=generator)
    rows[3] = torch.nan
    split = (4, 15, 0, 9)[step % 4]
    return rows[:split], rows[split:]


def new_dictionary() -> BackgroundDictionary:
    return BackgroundDictionary(6, 16, momentum=0.5, starved_share=0.1, dtype=torch.float64)


def train(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    dictionary = new_dictionary()
    for step in range(STEPS):
        dictionary.update(batches(step)[rank])
    torch.save(dictionary.state_dict(), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.skipif(not distributed.is_gloo_available(), reason="gloo is not built into this torch")
def test_two_ranks_keep_the_dictionary_of_one(tmp_path: Path) -> None:
    multiprocessing.spawn(train, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    alone = new_dictionary()
    moved = 0
    for step in range(STEPS):
        before = alone.atoms.clone()
        alone.update(torch.cat(batches(step)))
        moved += int(((before * alone.atoms).sum(1) < 0.5).sum())
    assert moved > 6  # atoms were re-seeded after the first fill, too
    for name, expected in alone.state_dict().items():
        assert torch.equal(first[name], second[name])
        assert torch.allclose(first[name], expected, rtol=1e-12, atol=1e-12)
