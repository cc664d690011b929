"""Which points are paired, and which blocks a rank holds meanwhile, on rings larger than the tests have processes."""

from __future__ import annotations

import itertools
import weakref
from collections import Counter

import pytest
import torch
from torch import Tensor

from dmlkernels.distributed import ring as ring_module
from dmlkernels.distributed.ring import Block, Posted, Ring
from dmlkernels.distributed.schedule import Schedule, Side
from dmlkernels.statistics import Field

SIZES = [(3, 2), (0, 4), (5, 0), (1, 1), (0, 0), (2, 7), (4, 3), (1, 0), (6, 5)]
Point = tuple[int, int, int]  # rank, kind, place


def points(schedule: Schedule, step: int, side: Side) -> list[Point]:
    rank = (schedule.rank - step) % len(schedule.sizes) if side.remote else schedule.rank
    return [(rank, side.kind, place) for place in range(*side.span.indices(schedule.sizes[rank][side.kind]))]


@pytest.mark.parametrize("size", range(1, 10))
def test_every_unordered_pair_meets_once(size: int) -> None:
    sizes = tuple(SIZES[:size])
    field = Field(3.0, 0.2, 0.2, 1e-2, True)
    statistics = {(0, 0): field, (0, 1): field, (1, 1): field}
    met: Counter[frozenset[Point]] = Counter()
    for rank in range(size):
        schedule = Schedule(rank, sizes, statistics)
        for step in range(size // 2 + 1):
            for entry in schedule.at(step):
                rows = points(schedule, step, entry.rows)
                if entry.columns is None:
                    met.update(map(frozenset, itertools.combinations(rows, 2)))
                else:
                    met.update(map(frozenset, itertools.product(rows, points(schedule, step, entry.columns))))
    everyone = [(rank, kind, place) for rank in range(size) for kind in (0, 1) for place in range(sizes[rank][kind])]
    assert met == Counter(map(frozenset, itertools.combinations(everyone, 2)))


@pytest.mark.parametrize("size", [5, 8])
def test_the_last_step_of_an_even_ring_is_shared_evenly(size: int) -> None:
    sizes = ((40, 20),) * size
    field = Field(3.0, 0.2, 0.2, 1e-2, True)
    pairs = []
    for rank in range(size):
        schedule, count = Schedule(rank, sizes, {(0, 0): field, (0, 1): field, (1, 1): field}), 0
        for step in range(size // 2 + 1):
            for entry in schedule.at(step):
                rows = len(points(schedule, step, entry.rows))
                columns = entry.columns
                count += rows * (rows - 1) // 2 if columns is None else rows * len(points(schedule, step, columns))
        pairs.append(count)
    assert len(set(pairs)) == 1


def test_two_blocks_of_other_ranks_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_module.distributed, "get_rank", lambda group: 3)
    monkeypatch.setattr(ring_module.distributed, "get_world_size", lambda group: 9)
    monkeypatch.setattr(Ring, "post", lambda self, sent, received, to, sender: Posted(received, []))
    live: weakref.WeakSet[Tensor] = weakref.WeakSet()
    most, visited = 0, []
    make = Ring._new

    def counted(self: Ring, source: int, like: Tensor) -> Block:
        nonlocal most
        block = make(self, source, like)
        live.add(block[0])
        most = max(most, len(live))
        return block

    def work(step: int, block: Block) -> None:
        visited.append((step, block[0].shape[0]))

    monkeypatch.setattr(Ring, "_new", counted)
    ring = Ring(None, [[torch.Size((rank + 1, 2))] for rank in range(9)], [torch.float32])  # type: ignore[arg-type]
    ring.visit((torch.zeros(4, 2),), work)
    assert visited == [(0, 4), (1, 3), (2, 2), (3, 1), (4, 9)]
    assert most == 2
