"""The package's custom ops: what torch.compile, autograd and opcheck see of it."""

from dmlkernels.ops.classes import class_index
from dmlkernels.ops.labels import resolve_labels, resolve_pair_labels
from dmlkernels.ops.labels_at_once import (
    APART,
    BEHIND,
    resolve_class_numbers,
    resolve_proxy_labels,
    resolve_sample_labels,
    suits_kernels,
)
from dmlkernels.ops.margins import curricular_values, norm_quality, positive_cosines, row_norms, suits_row_kernels
from dmlkernels.ops.pair_losses import Formula, pair_loss, pair_loss_and_parts
from dmlkernels.ops.pairs import pair_statistics
from dmlkernels.ops.spread import center_spread
from dmlkernels.ops.sums import unit_sum

__all__ = [
    "APART",
    "BEHIND",
    "Formula",
    "center_spread",
    "class_index",
    "curricular_values",
    "norm_quality",
    "pair_loss",
    "pair_loss_and_parts",
    "pair_statistics",
    "positive_cosines",
    "resolve_class_numbers",
    "resolve_labels",
    "resolve_pair_labels",
    "resolve_proxy_labels",
    "resolve_sample_labels",
    "row_norms",
    "suits_kernels",
    "suits_row_kernels",
    "unit_sum",
]
