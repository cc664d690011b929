"""Each statistic in each way that the losses use it, and some more: a tile of this engine has more paths."""

from __future__ import annotations

from dmlkernels.backends.pairs import Pairs
from dmlkernels.statistics import Circle, RowCircle, RowLogSumExp, SubCenter
from tests.triton.common import Maker, with_row_values
from tests.triton.common import every_kind as of_every_backend


def every_kind(maker: Maker) -> dict[str, Pairs]:
    return {
        **of_every_backend(maker),
        "row_logsumexp_unlabelled": with_row_values(maker.to_columns(RowLogSumExp())),
        "row_circle_detached": with_row_values(maker.to_columns(RowCircle(1.0), labelled=True)),
        "circle_detached": maker.to_columns(Circle(32.0, 0.25, 1.0), labelled=True),
        "sub_center_one": maker.to_columns(SubCenter(8.0, 1.0)),
    }


KINDS = tuple(every_kind(Maker(4, 4, 2)))
