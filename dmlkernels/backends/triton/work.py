"""What tiles and the precision of products follow from, forward and backward."""

from __future__ import annotations

import torch

from dmlkernels.backends.autocast import is_mixed
from dmlkernels.backends.pairs import Shape
from dmlkernels.backends.triton.epilogues import epilogue_of
from dmlkernels.backends.triton.plan import Architecture, Work
from dmlkernels.backends.triton.precision import first_precision, parts_needed, second_precision


def operand_of(shape: Shape) -> torch.dtype:
    """Type that vectors are multiplied in; points are joined in it."""
    return shape.row_type if shape.column_type in (None, shape.row_type) else shape.dtype


def forward_work(shape: Shape, arch: Architecture, matmul: str) -> Work:
    """Of the scores; ``matmul`` as in ``precision``."""
    precision = first_precision(epilogue_of(shape.statistic), arch, _is_mixed(shape), matmul)
    return _work(shape, arch, precision, forward=True)


def backward_work(shape: Shape, arch: Architecture, matmul: str) -> Work:
    """Of the scores and of either gradient."""
    epilogue, operand = epilogue_of(shape.statistic), operand_of(shape)
    return _work(shape, arch, second_precision(epilogue, operand, arch, _is_mixed(shape), matmul), forward=False)


def _work(shape: Shape, arch: Architecture, precision: str, forward: bool) -> Work:
    statistic, epilogue = shape.statistic, epilogue_of(shape.statistic)
    given = statistic.reads_labels and shape.has_column_labels
    work = Work(
        shape.dim, operand_of(shape), epilogue.live_tiles, statistic.group, precision, given, shape.within,
        statistic.views,
    )  # fmt: skip
    return work._replace(parts=parts_needed(epilogue, work, arch, forward))


def _is_mixed(shape: Shape) -> bool:
    """Whether halves meet float32, be it in points that are float32 together."""
    return shape.mixed or (shape.column_type is not None and is_mixed(shape.row_type, shape.column_type))
