"""The search for tiles, without a GPU: what it compiles, keeps, times and proposes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

pytest.importorskip("triton")

from dmlkernels.backends.triton.plan import Architecture, Work, backward_tiles, forward_tiles
from dmlkernels.backends.triton.saved import FLAG_ROWS, WORD_COLUMNS
from dmlkernels.backends.triton.tiles import TABLE, Key, Tiles
from tests.triton.predict.__main__ import TYPES
from tests.triton.sweep.places import Place, candidates, filled, in_table, places
from tests.triton.sweep.screen import best_predicted, screen
from tests.triton.sweep.timing import proposed, timed

ROWS = Place(1, "bf16", 64, "rows")
SHORT, LONG = Tiles(64, 32, 64, 64, 4, 2), Tiles(64, 64, 64, 64, 4, 2)


class Scripted:
    """A clock that is told what runs take."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self._seconds = seconds

    def time(self, run: Callable[[], object]) -> float:
        return self._seconds[id(run)]


def test_every_row_has_candidates_that_the_flags_allow() -> None:
    for place in places():
        found = candidates(place)
        assert len(found) == len(set(found)) >= 12
        if place.role != "forward":
            assert all(
                tiles.M <= FLAG_ROWS and tiles.N <= WORD_COLUMNS and (place.parts > 1 or tiles.SLICE >= tiles.BLOCK_D)
                for tiles in found
            )


@pytest.mark.parametrize("role", ["forward", "rows", "columns"])
@pytest.mark.parametrize(
    ("type_", "operand"), [("bf16", torch.bfloat16), ("fp16", torch.float16), ("tf32", torch.float32)]
)
def test_a_row_in_the_table_is_what_is_launched(role: str, type_: str, operand: torch.dtype) -> None:
    arch, place = Architecture("cuda", 90), Place(1, type_, 128, role)
    work, tiles, before = Work(128, operand, parts=place.parts), Tiles(64, 16, 128, 128, 4, 1), dict(TABLE)
    with in_table(place, tiles, arch):
        found = forward_tiles(work, arch, 1024) if role == "forward" else backward_tiles(work, arch, role == "columns")
        assert found == tiles
    assert before == TABLE


@pytest.mark.parametrize("role", ["forward", "rows"])
@pytest.mark.parametrize(("type_", "precision"), [("bf16", "ieee"), ("tf32", "tf32x3")])
def test_a_row_of_points_is_what_is_launched(role: str, type_: str, precision: str) -> None:
    arch = Architecture("cuda", 90)
    work = Work(512, TYPES[type_][0], live_tiles=4, precision=precision, within=True)
    tiles = Tiles(64, 32, 64, 256, 8, 1)
    with in_table(Place(4, type_, 512, role), tiles, arch):
        found = forward_tiles(work, arch, 1024) if role == "forward" else backward_tiles(work, arch)
    assert found == tiles


def test_candidates_that_spill_are_left_out_and_the_best_predicted_kept() -> None:
    assert screen(Place(1, "bf16", 512, "rows"), Tiles(64, 64, 512, 512, 4, 2), "sm_90") is None
    asked = []

    def map_(function: Callable[[Tiles | None], object], tiles: list[Tiles | None]) -> list[object]:
        asked.extend(tiles)
        return [function(one) if one in (None, SHORT, LONG) else None for one in tiles]

    found = best_predicted(ROWS, "sm_90", 1, map_)  # type: ignore[arg-type]
    assert asked == [None, *candidates(ROWS)]
    assert list(found) == [None, LONG]
    assert all(one is not None and 0 < one.share < 1 for one in found.values())


def test_a_faster_row_is_proposed_as_the_table_has_it() -> None:
    same = torch.ones(3)
    runs = {None: lambda: same, SHORT: lambda: same + 0, LONG: lambda: same * 1.5}
    seconds = {id(run): time for run, time in zip(runs.values(), (1.0, 0.9, 0.1), strict=True)}
    timings = timed(runs, Scripted(seconds))
    assert set(timings) == {None, SHORT}, "what is fast and wrong is not timed"
    row = proposed(ROWS, 90, timings)
    assert row is not None
    assert eval("{" + row + "}", {"Key": Key, "Tiles": Tiles}) == {ROWS.key(90): SHORT}
    seconds[id(runs[SHORT])] = 0.98
    assert proposed(ROWS, 90, timed(runs, Scripted(seconds))) is None, "noise"


@pytest.mark.parametrize("weight", [1, 2, 3, 4])
def test_what_is_timed_has_memory(weight: int) -> None:
    place = Place(weight, "bf16", 8, "forward")
    pairs, made = place.pairs(), filled(place.pairs(), "cpu")
    assert (made.rows.shape, made.rows.dtype, made.rows.device.type) == (pairs.rows.shape, torch.bfloat16, "cpu")
    assert made.row_labels is not None and made.row_labels.max() < max(made.num_columns, made.num_rows)
