"""The place of each label's class among values that are given for classes."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.ops.library import register
from dmlkernels.statistics import IGNORED


def _class_index(
    labels: Tensor,  # (B,) int64, IGNORED allowed
    num_classes: int,
    name: str,
    check: bool,
) -> tuple[Tensor, Tensor]:  # (B,) int64, (B,) bool
    """Indices within ``range(num_classes)``, and which rows belong to a class that is not in it.

    With ``check`` such a row raises a ValueError that names the option ``name``. Without, nothing is read on the host.
    """
    unknown = ((labels < 0) | (labels >= num_classes)) & (labels != IGNORED)
    if check and unknown.any():
        raise ValueError(
            f"{name}: got {num_classes} values, expected one for each class from 0 on; "
            f"labels holds {int(labels[unknown][0])}"
        )
    return labels.clamp(0, num_classes - 1), unknown


def _fake(labels: Tensor, num_classes: int, name: str, check: bool) -> tuple[Tensor, Tensor]:
    return torch.empty_like(labels), torch.empty_like(labels, dtype=torch.bool)


class_index = register(
    "class_index", "(Tensor labels, int num_classes, str name, bool check) -> (Tensor, Tensor)", _class_index, _fake
)
