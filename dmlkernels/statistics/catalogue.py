"""Statistics by name: what a torch custom op is given instead of an object."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from dmlkernels.statistics.base import Statistic
from dmlkernels.statistics.circle import Circle
from dmlkernels.statistics.divergence import Divergence
from dmlkernels.statistics.field import Field
from dmlkernels.statistics.fused import Fused
from dmlkernels.statistics.logsumexp import LogSumExp
from dmlkernels.statistics.moments import Moments
from dmlkernels.statistics.row_circle import RowCircle
from dmlkernels.statistics.row_logsumexp import RowLogSumExp
from dmlkernels.statistics.soft_triple import SoftTriple
from dmlkernels.statistics.square import Square
from dmlkernels.statistics.sub_center import RowSubCenter, SubCenter

_STATISTICS: tuple[type[Statistic], ...] = (
    Circle,
    Divergence,
    Field,
    Fused,
    LogSumExp,
    Moments,
    RowCircle,
    RowLogSumExp,
    RowSubCenter,
    SoftTriple,
    Square,
    SubCenter,
)

CATALOGUE = {statistic.name: statistic for statistic in _STATISTICS}


def build(name: str, parameters: Sequence[float]) -> Statistic:
    """The statistic called ``name`` with these parameters."""
    return _build(name, tuple(parameters))


@lru_cache(maxsize=256)
def _build(name: str, parameters: tuple[float, ...]) -> Statistic:
    return CATALOGUE[name](*parameters)
