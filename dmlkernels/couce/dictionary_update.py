"""One update of the background dictionary, as a pure function of its state and a batch of descriptors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, distributed

from dmlkernels.distributed.collectives import all_gather
from dmlkernels.functional.cosines import unit_rows

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

UNREACHABLE = -2.0  # below every cosine


class DictionaryState(NamedTuple):
    """What a dictionary remembers."""

    atoms: Tensor  # (K, D), unit rows; zero rows where nothing was written yet
    counts: Tensor  # (K,), decayed number of descriptors
    sums: Tensor  # (K, D), decayed sum of descriptors


def updated_dictionary(
    state: DictionaryState,
    descriptors: Tensor,  # (B, D), unit rows; zero or non-finite rows take no part
    *,
    momentum: float,
    starved_share: float,
    process_group: ProcessGroup | None = None,
) -> DictionaryState:
    """Decay, re-seed the starved atoms, assign every descriptor to its most similar atom, add, renormalise.

    A collective call of the group, if there is one: every rank ends with the same state, that of one process with all
    the descriptors, up to rounding. Nothing waits for the device.
    """
    num_atoms = state.atoms.shape[0]
    valid = descriptors.isfinite().all(1) & descriptors.any(1)
    descriptors = descriptors.where(valid.unsqueeze(1), 0.0)
    counts, sums = state.counts * momentum, state.sums * momentum

    limit = starved_share * counts.sum() / num_atoms
    starved = counts <= limit
    seeds, usable = _least_explained(descriptors, valid, state.atoms, starved, process_group)
    nth_starved = starved.cumsum(0) - 1
    turn = nth_starved.clamp_min(0)
    seeded = starved & usable[turn]
    seeds = seeds[turn]
    # This weight outlives the limit for about 1 / (1 - momentum) updates, time enough to attract descriptors.
    counts = torch.where(seeded, math.e * limit, counts)
    sums = torch.where(seeded.unsqueeze(1), math.e * limit * seeds, sums)
    atoms = torch.where(seeded.unsqueeze(1), seeds, state.atoms)

    written = seeded | (state.counts > 0)
    nearest = (descriptors @ atoms.T).masked_fill(~written, UNREACHABLE).argmax(1)
    members = (nearest.unsqueeze(1) == torch.arange(num_atoms, device=nearest.device)) & valid.unsqueeze(1)
    # A product instead of index_add: repeatable on a GPU.
    added = members.to(sums.dtype).T @ torch.cat((descriptors, valid.to(sums.dtype).unsqueeze(1)), 1)
    if process_group is not None:
        distributed.all_reduce(added, group=process_group)
    counts, sums = counts + added[:, -1], sums + added[:, :-1]
    return DictionaryState(unit_rows(sums), counts, sums)


def _least_explained(
    descriptors: Tensor, valid: Tensor, atoms: Tensor, starved: Tensor, group: ProcessGroup | None
) -> tuple[Tensor, Tensor]:  # (K, D), (K,) bool
    """The K descriptors of all ranks that are least similar to any atom that stays, worst first, and which are real."""
    num_atoms = atoms.shape[0]
    similarity = (descriptors @ atoms.T).masked_fill(starved, UNREACHABLE).amax(1)
    similarity = similarity.where(valid, torch.inf)
    candidates = torch.cat((descriptors, similarity.unsqueeze(1)), 1)
    padding = candidates.new_full((num_atoms, candidates.shape[1]), torch.inf)
    candidates = _worst(torch.cat((candidates, padding)), num_atoms)
    if group is not None:
        everyone = all_gather(candidates, group, [num_atoms] * distributed.get_world_size(group))
        candidates = _worst(everyone, num_atoms)
    return candidates[:, :-1], candidates[:, -1].isfinite()


def _worst(candidates: Tensor, number: int) -> Tensor:
    return candidates[candidates[:, -1].argsort(stable=True)[:number]]
