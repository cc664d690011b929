"""The catalogue: every loss is one of these row statistics of the score matrix, and a formula on top.

A statistic is three functions of a tile of scores: ``fold`` it into a few values per row, ``merge`` two such
summaries, and ``slope``, the derivative of the upstream gradient with respect to each score. Nothing else about a loss
is known below this layer.
"""

from dmlkernels.statistics.base import Statistic, Term
from dmlkernels.statistics.catalogue import CATALOGUE, build
from dmlkernels.statistics.circle import Circle
from dmlkernels.statistics.divergence import Divergence
from dmlkernels.statistics.field import Field
from dmlkernels.statistics.fused import Fused
from dmlkernels.statistics.logsumexp import LogSumExp
from dmlkernels.statistics.moments import Moments, merge_moments
from dmlkernels.statistics.row_circle import RowCircle
from dmlkernels.statistics.row_logsumexp import RowLogSumExp
from dmlkernels.statistics.soft_triple import SoftTriple
from dmlkernels.statistics.square import Square
from dmlkernels.statistics.sub_center import RowSubCenter, SubCenter
from dmlkernels.statistics.tile import IGNORED, Tile

__all__ = [
    "CATALOGUE",
    "IGNORED",
    "Circle",
    "Divergence",
    "Field",
    "Fused",
    "LogSumExp",
    "Moments",
    "RowCircle",
    "RowLogSumExp",
    "RowSubCenter",
    "SoftTriple",
    "Square",
    "Statistic",
    "SubCenter",
    "Term",
    "Tile",
    "build",
    "merge_moments",
]
