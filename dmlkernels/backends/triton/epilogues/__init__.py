"""Statistics as the kernels see them: one file each."""

from dmlkernels.backends.triton.epilogues.base import Epilogue, epilogue_of, has_epilogue, register
from dmlkernels.backends.triton.epilogues.divergence import DIVERGENCE
from dmlkernels.backends.triton.epilogues.field import FIELD
from dmlkernels.backends.triton.epilogues.fused import FUSED
from dmlkernels.backends.triton.epilogues.logsumexp import LOGSUMEXP
from dmlkernels.backends.triton.epilogues.moments import MOMENTS
from dmlkernels.backends.triton.epilogues.soft_triple import SOFT_TRIPLE
from dmlkernels.backends.triton.epilogues.square import SQUARE
from dmlkernels.statistics import Divergence, Field, Fused, LogSumExp, Moments, SoftTriple, Square

register(Divergence, DIVERGENCE)
register(Field, FIELD)
register(Fused, FUSED)
register(LogSumExp, LOGSUMEXP)
register(Moments, MOMENTS)
register(SoftTriple, SOFT_TRIPLE)
register(Square, SQUARE)

__all__ = ["Epilogue", "epilogue_of", "has_epilogue", "register"]
