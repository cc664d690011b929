"""Labels resolved in one launch, two if their classes are given."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dmlkernels.backends.gpu import on_device
from dmlkernels.backends.gpu.splits import cdiv
from dmlkernels.backends.pairs import Pairs

MOST_LABELS = 2**16  # one program looks at all of them
MOST_COMPARED = 2**26  # labels times classes that are given: each is compared with each


def suits(labels: Tensor, classes: Tensor | None) -> bool:
    """Whether the kernel is quicker than a dozen launches."""
    count = labels.shape[0]
    return 0 < count <= MOST_LABELS and (classes is None or count * classes.shape[0] <= MOST_COMPARED)


class RawLabels(NamedTuple):
    """Labels of rows that are yet to be resolved, where column j has class j, and memory for what comes of them."""

    given: Tensor  # (B,)
    ignore_index: int
    resolved: Tensor  # (B,) int64, IGNORED for ``ignore_index``
    poison: Tensor  # (), NaN if one is no class, else 0

    @classmethod
    def of(cls, labels: Tensor, ignore_index: int) -> RawLabels:
        resolved, poison = labels.new_empty(labels.shape, dtype=torch.int64), labels.new_empty((), dtype=torch.float32)
        return cls(labels.contiguous(), ignore_index, resolved, poison)

    def resolve(self, pairs: Pairs) -> None:
        """Fill the memory in a launch of its own."""
        num_classes = pairs.num_columns // pairs.statistic.group
        _launch(self.given, None, self.resolved, self.poison, num_classes, self.ignore_index, 0)


def resolve(
    labels: Tensor,  # (B,)
    classes: Tensor | None,  # (C,)
    num_classes: int,  # C; negative: any class will do
    ignore_index: int,
    joined: int,
) -> tuple[Tensor, Tensor]:  # (B,), or joined (B and a gap + C,); ()
    """Labels as int64 with IGNORED for ``ignore_index``, and NaN if one is no class or IGNORED is a class, else 0.

    ``joined``: classes lie behind the labels, from the next multiple of this number on; 0: there are none.
    """
    out = labels.new_empty(joined_length(labels.shape[0], num_classes, joined), dtype=torch.int64)
    poison = (labels.new_empty if classes is None else labels.new_zeros)((), dtype=torch.float32)
    classes = None if classes is None else classes.contiguous()
    with on_device(labels.device):
        _launch(labels.contiguous(), classes, out, poison, num_classes, ignore_index, joined)
    return out, poison


def joined_length(count: int, num_classes: int, joined: int) -> int:
    """Numbers of so many labels, and of the classes behind them."""
    return cdiv(count, joined) * joined + num_classes if joined else count


def _launch(
    labels: Tensor,
    classes: Tensor | None,
    out: Tensor,
    poison: Tensor,
    num_classes: int,
    ignore_index: int,
    joined: int,
) -> None:
    from dmlkernels.backends.triton.kernels.labels import labels_kernel
    from dmlkernels.backends.triton.launcher import launch

    given = classes is not None
    block, compared = (16, 1024) if given else (1024, 128)
    launch(
        labels_kernel, (cdiv(out.shape[0], block),),
        labels, classes, out, poison, labels.shape[0], num_classes, out.shape[0] - num_classes, ignore_index,
        CLASSES="any" if num_classes < 0 else "given" if given else "counted", JOINED=joined > 0, M=block, N=compared,
        num_warps=8 if given else 4,
    )  # fmt: skip
