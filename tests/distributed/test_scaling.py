"""The traffic in docs/scaling.md equals what is counted."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.harness.traffic import Call
from benchmarks.scaling.__main__ import DOCS, with_tables
from benchmarks.scaling.count import ALONE, OPTIONS, count
from benchmarks.scaling.traffic import Step, calls
from tests.distributed.world import Place, World

SIZES = [(24, 24, 4), (48, 24, 4), (24, 48, 4), (24, 24, 8)]


def counted(place: Place, step: Step) -> dict[str, list[Call]]:
    names = (name for name in OPTIONS if not (step.sharded and name in ALONE))
    mesh = place.mesh if step.replicas == 1 else place.table
    return {name: count(name, step, place.rank, place.group, mesh) for name in names}


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("ranks", "sharded", "replicas"),
    [*((ranks, sharded, 1) for ranks in (1, 2, 3, 4) for sharded in (False, True)), (4, True, 2)],
)
def test_formulas_are_what_is_counted(world: World, ranks: int, sharded: bool, replicas: int) -> None:
    for rows, columns, dim in SIZES:
        step = Step(ranks, rows, columns, dim, sharded, replicas)
        for found in world.run(ranks, counted, step):
            for name, made in found.items():
                expected = Counter((call.operation, call.num_bytes, call.ranks) for call in calls(name, step))
                assert Counter((call.operation, call.num_bytes, call.ranks) for call in made) == expected, (name, step)


def test_the_page_has_the_tables_of_the_formulas() -> None:
    page = (DOCS / "scaling.md").read_text(encoding="utf-8")
    assert with_tables(page) == page
