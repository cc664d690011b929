"""Candidates that compile to something, and what the model makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch

from dmlkernels.backends.pairs import Forward
from dmlkernels.backends.triton.saved import saved_size
from dmlkernels.backends.triton.tiles import Tiles
from tests.triton.compiling import TARGETS, launched
from tests.triton.limits import SHARED, parked
from tests.triton.predict.kernel import Prediction, predict
from tests.triton.sweep.places import Place, candidates, in_table, run

Predicted = dict[Tiles | None, Prediction | None]  # None: what ships; and what does not fit


def screen(place: Place, tiles: Tiles | None, target: str) -> Prediction | None:
    """Compile one candidate, or what ships; None if it does not fit or spills in its loop."""
    torch.set_num_threads(1)
    arch, pairs = TARGETS[target][1], place.pairs()
    statistics = pairs.rows.new_empty(pairs.num_rows, pairs.statistic.width, dtype=pairs.dtype)
    forward = Forward(statistics, statistics.new_empty(saved_size(pairs.shape)))
    with in_table(place, tiles, arch), launched(target) as found:
        try:
            run(place, pairs, forward, statistics, arch)
        except Exception:  # of the compiler, which some tiles break
            return None
    (one,) = (one for one in found if one[0] in ("forward_kernel", "backward_kernel"))
    _, kernel, options, grid = one
    made = predict(kernel, options, grid, target, place.role)
    spills = made.spilled_in_loops > parked(made.registers)
    return None if spills or kernel.metadata.shared > SHARED[target] else made


def best_predicted(
    place: Place, target: str, keep: int, map_: Callable[..., Iterable[Prediction | None]] = map
) -> Predicted:
    """What ships, as None, and the most promising candidates, with their predictions."""
    asked: list[Tiles | None] = [None, *candidates(place)]
    found = dict(zip(asked, map_(partial(screen, place, target=target), asked), strict=True))
    fitting = {tiles: made.share for tiles, made in found.items() if made is not None and tiles is not None}
    best = sorted(fitting, key=lambda tiles: -fitting[tiles])[:keep]
    return {tiles: found[tiles] for tiles in (None, *best)}
