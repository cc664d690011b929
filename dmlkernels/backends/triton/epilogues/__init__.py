"""Statistics as the kernels see them: one file each."""

from dmlkernels.backends.triton.epilogues.base import Epilogue, epilogue_of, register
from dmlkernels.backends.triton.epilogues.field import FIELD
from dmlkernels.backends.triton.epilogues.logsumexp import LOGSUMEXP
from dmlkernels.backends.triton.epilogues.moments import MOMENTS
from dmlkernels.backends.triton.epilogues.square import SQUARE
from dmlkernels.statistics import Field, LogSumExp, Moments, Square

register(Field, FIELD)
register(LogSumExp, LOGSUMEXP)
register(Moments, MOMENTS)
register(Square, SQUARE)

__all__ = ["Epilogue", "epilogue_of", "register"]
