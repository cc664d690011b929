"""Labels resolved in one launch on a GPU, where nobody waits to see whether they are right."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels import backends
from dmlkernels.backends.triton import labels as kernels
from dmlkernels.ops.labels import resolve_labels, resolve_pair_labels
from dmlkernels.ops.library import register

suits_kernels = kernels.suits
# Labels of proxies right behind those of samples, or aligned whatever the batch: kernels are compiled for alignment.
BEHIND, APART = 1, 16


def resolve_class_numbers(labels: Tensor, num_classes: int, ignore_index: int) -> tuple[Tensor, Tensor]:
    """What ``resolve_labels`` gives of labels that these kernels suit, where proxy j has class j."""
    resolved, poison = labels_at_once(labels, None, num_classes, ignore_index, 0)
    return resolved, poison


def resolve_proxy_labels(
    labels: Tensor,  # (B,)
    proxy_labels: Tensor | None,  # (C,); None: proxy j has class j
    num_proxies: int,
    ignore_index: int,
    check: bool,
    needs_samples: bool,
    needs_impostors: bool,
    correction: int,
    backend: str,
    joined: int = 0,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """What ``resolve_labels`` gives and, if ``joined`` as BEHIND or APART, maybe the labels of samples and proxies in
    one tensor, which ends with the latter."""
    if check or not _suits(labels, proxy_labels, backend):
        resolved, poison = resolve_labels(
            labels, proxy_labels, num_proxies, ignore_index, check, needs_samples, needs_impostors, correction
        )
        return resolved, poison, None
    resolved, poison = labels_at_once(labels, proxy_labels, num_proxies, ignore_index, joined)
    return (resolved[: labels.shape[0]], poison, resolved) if joined else (resolved, poison, None)


def resolve_sample_labels(
    labels: Tensor,  # (B,)
    ignore_index: int,
    check: bool,
    needs_pairs: bool,
    correction: int,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """What ``resolve_pair_labels`` gives."""
    if check or not _suits(labels, None, backend):
        return resolve_pair_labels(labels, ignore_index, check, needs_pairs, correction)
    return labels_at_once(labels, None, -1, ignore_index, 0)


def _suits(labels: Tensor, classes: Tensor | None, backend: str) -> bool:
    return kernels.suits(labels, classes) and backends.resolve(backend, labels.device.type) == "triton"


def _resolve(
    labels: Tensor, classes: Tensor | None, num_classes: int, ignore_index: int, joined: int
) -> tuple[Tensor, Tensor]:
    return kernels.resolve(labels, classes, num_classes, ignore_index, joined)


def _fake(
    labels: Tensor, classes: Tensor | None, num_classes: int, ignore_index: int, joined: int
) -> tuple[Tensor, Tensor]:
    count = kernels.joined_length(labels.shape[0], num_classes, joined)
    return labels.new_empty(count, dtype=torch.int64), labels.new_empty((), dtype=torch.float32)


labels_at_once = register(
    "labels_at_once",
    "(Tensor labels, Tensor? classes, int num_classes, int ignore_index, int joined) -> (Tensor, Tensor)",
    _resolve,
    _fake,
)
