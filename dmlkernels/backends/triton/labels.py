"""Labels resolved in one launch, two if their classes are given."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.backends.gpu.splits import cdiv

MOST_LABELS = 2**16  # one program looks at all of them
MOST_COMPARED = 2**26  # labels times classes that are given: each is compared with each


def suits(labels: Tensor, classes: Tensor | None) -> bool:
    """Whether the kernel is quicker than a dozen launches."""
    count = labels.shape[0]
    return 0 < count <= MOST_LABELS and (classes is None or count * classes.shape[0] <= MOST_COMPARED)


def resolve(
    labels: Tensor,  # (B,)
    classes: Tensor | None,  # (C,)
    num_classes: int,  # C; negative: any class will do
    ignore_index: int,
    joined: bool,
) -> tuple[Tensor, Tensor]:  # (B,), or (B + C,) with the classes behind if joined; ()
    """Labels as int64 with IGNORED for ``ignore_index``, and NaN if one is no class or IGNORED is a class, else 0."""
    from dmlkernels.backends.triton.kernels.labels import labels_kernel
    from dmlkernels.backends.triton.launcher import launch

    count = labels.shape[0]
    out = labels.new_empty(count + joined * num_classes, dtype=torch.int64)
    given = classes is not None
    classes = None if classes is None else classes.contiguous()
    poison = (labels.new_zeros if given else labels.new_empty)((), dtype=torch.float32)
    block, compared = (16, 1024) if given else (1024, 128)
    launch(
        labels_kernel, (cdiv(out.shape[0], block),),
        labels.contiguous(), classes, out, poison, count, num_classes, ignore_index,
        CLASSES="any" if num_classes < 0 else "given" if given else "counted", JOINED=joined, M=block, N=compared,
        num_warps=8 if given else 4,
    )  # fmt: skip
    return out, poison
