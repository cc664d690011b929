"""Labels resolved in one pass if there is nothing to complain of; ``dmlkernels.ops.labels`` complains."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.backends.native import module


def resolved(labels: Tensor, ignore_index: int, num_classes: int) -> Tensor | None:  # (B,)
    """Labels as int64 with IGNORED for ``ignore_index``; None if another is no class, all are ignored, or the engine is
    not here."""
    if module.reason is not None or labels.device.type != "cpu":
        return None
    given = labels.contiguous()
    found = torch.empty(given.shape, dtype=torch.int64, device="cpu")
    kind = getattr(module.compiled.Integer, str(given.dtype).removeprefix("torch."))
    usable = module.compiled.resolve_labels(
        kind, given.data_ptr(), given.shape[0], ignore_index, num_classes, found.data_ptr()
    )
    return found if usable else None
