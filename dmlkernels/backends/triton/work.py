"""What tiles and the precision of products follow from, forward and backward."""

from __future__ import annotations

import torch

from dmlkernels.backends.autocast import is_mixed
from dmlkernels.backends.pairs import Pairs
from dmlkernels.backends.triton.epilogues import epilogue_of
from dmlkernels.backends.triton.plan import Architecture, Work
from dmlkernels.backends.triton.precision import first_precision, second_precision


def operand_of(pairs: Pairs) -> torch.dtype:
    """Type that vectors are multiplied in; points are joined in it."""
    same = pairs.columns is None or pairs.columns.dtype == pairs.rows.dtype
    return pairs.rows.dtype if same else pairs.dtype


def forward_work(pairs: Pairs, arch: Architecture) -> Work:
    """Of the scores."""
    return _work(pairs, first_precision(epilogue_of(pairs.statistic), arch, _is_mixed(pairs)))


def backward_work(pairs: Pairs, arch: Architecture) -> Work:
    """Of the scores and of either gradient."""
    return _work(pairs, second_precision(epilogue_of(pairs.statistic), operand_of(pairs), arch, _is_mixed(pairs)))


def _work(pairs: Pairs, precision: str) -> Work:
    statistic = pairs.statistic
    given = statistic.reads_labels and pairs.column_labels is not None
    return Work(
        pairs.dim, operand_of(pairs), epilogue_of(statistic).live_tiles, statistic.group, precision,
        given, pairs.within, statistic.views,
    )  # fmt: skip


def _is_mixed(pairs: Pairs) -> bool:
    """Whether halves meet float32, be it in points that are float32 together."""
    return pairs.mixed or (pairs.columns is not None and is_mixed(pairs.rows.dtype, pairs.columns.dtype))
