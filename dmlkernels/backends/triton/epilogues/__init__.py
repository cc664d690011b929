"""Statistics as the kernels see them: one file each."""

from dmlkernels.backends.triton.epilogues.base import Epilogue, epilogue_of, has_epilogue, register
from dmlkernels.backends.triton.epilogues.circle import CIRCLE
from dmlkernels.backends.triton.epilogues.divergence import DIVERGENCE
from dmlkernels.backends.triton.epilogues.field import FIELD
from dmlkernels.backends.triton.epilogues.fused import FUSED
from dmlkernels.backends.triton.epilogues.logsumexp import LOGSUMEXP
from dmlkernels.backends.triton.epilogues.moments import MOMENTS
from dmlkernels.backends.triton.epilogues.row_circle import ROW_CIRCLE
from dmlkernels.backends.triton.epilogues.row_logsumexp import ROW_LOGSUMEXP
from dmlkernels.backends.triton.epilogues.row_sub_center import ROW_SUB_CENTER
from dmlkernels.backends.triton.epilogues.soft_triple import SOFT_TRIPLE
from dmlkernels.backends.triton.epilogues.square import SQUARE
from dmlkernels.backends.triton.epilogues.sub_center import SUB_CENTER
from dmlkernels.statistics import (
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

register(Circle, CIRCLE)
register(Divergence, DIVERGENCE)
register(Field, FIELD)
register(Fused, FUSED)
register(LogSumExp, LOGSUMEXP)
register(Moments, MOMENTS)
register(RowCircle, ROW_CIRCLE)
register(RowLogSumExp, ROW_LOGSUMEXP)
register(RowSubCenter, ROW_SUB_CENTER)
register(SoftTriple, SOFT_TRIPLE)
register(Square, SQUARE)
register(SubCenter, SUB_CENTER)

__all__ = ["Epilogue", "epilogue_of", "has_epilogue", "register"]
