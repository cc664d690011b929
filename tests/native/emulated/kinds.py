"""Each statistic in each way that the losses use it: those of every backend, and those that Triton does not have."""

from __future__ import annotations

from dataclasses import replace

import torch

from dmlkernels.backends.pairs import Pairs
from dmlkernels.statistics import Circle, RowLogSumExp, SubCenter
from tests.triton.common import Maker
from tests.triton.common import every_kind as of_every_backend


def every_kind(maker: Maker) -> dict[str, Pairs]:
    return {
        **of_every_backend(maker),
        "circle": maker.to_columns(Circle(32.0, 0.25, 1.0)),
        "circle_exact": maker.to_columns(Circle(32.0, 0.25, 0.0), labelled=True),
        "sub_center": maker.to_columns(SubCenter(20.0, 5.0)),
        "sub_center_one": maker.to_columns(SubCenter(8.0, 1.0)),
        "row_logsumexp": _with_row_values(maker.to_columns(RowLogSumExp())),
        "row_logsumexp_labelled": _with_row_values(maker.to_columns(RowLogSumExp(), labelled=True)),
    }


def _with_row_values(pairs: Pairs) -> Pairs:
    """Scales from 5 to 15, thresholds in the middle of the scores, or above all of them in every third row."""
    place = torch.arange(pairs.num_rows, dtype=torch.float64)
    threshold = torch.where(place % 3 == 1, torch.inf, 0.031 * (place % 7) - 0.1)
    return replace(pairs, row_values=torch.stack((5 + 10 * (0.37 * place % 1), threshold, 0.1 + 0.01 * place), dim=1))


KINDS = tuple(every_kind(Maker(4, 4, 2)))
