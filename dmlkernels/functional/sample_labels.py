"""Labels of samples, which a loss may leave to its kernels to resolve."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from dmlkernels.functional.checks import check_integer, check_labels, check_vectors
from dmlkernels.functional.validation import should_check
from dmlkernels.ops import resolve_class_numbers, resolve_sample_labels


class Resolved(NamedTuple):
    """Labels as the engine wants them."""

    labels: Tensor  # (B,) int64, IGNORED for ignored rows
    poison: Tensor  # NaN if a label that could not be checked is no proxy's class, else 0: add it to the loss
    points: Tensor | None = None  # (B + C,), of samples and proxies, if made at once; with a gap if APART


class Unresolved(NamedTuple):
    """Labels as the caller gave them, where proxy j has class j."""

    labels: Tensor  # (B,), of any type of integers
    ignore_index: int
    num_classes: int


class SampleLabels:
    """Labels that are resolved when they are first asked for."""

    def __init__(self, labels: Resolved | Unresolved) -> None:
        self._labels = labels

    @property
    def unresolved(self) -> Unresolved | None:
        """As they were given, if nobody has asked for them yet."""
        return self._labels if isinstance(self._labels, Unresolved) else None

    @property
    def resolved(self) -> Resolved:
        """As the engine wants them."""
        if isinstance(self._labels, Unresolved):
            labels, ignore_index, num_classes = self._labels
            self._labels = Resolved(*resolve_class_numbers(labels, num_classes, ignore_index))
        return self._labels


def sample_labels(
    embeddings: Tensor,
    labels: Tensor,
    *,
    ignore_index: int,
    backend: str,
    validate: bool,
    needs_pairs: bool = False,
    correction: int = 0,
) -> tuple[Tensor, Tensor]:  # (B,), ()
    """Labels and poison of a batch whose samples meet each other, checked.

    Args:
        needs_pairs: an error if all samples, or no two, are of one class.
        correction: an error if there are no more genuine or impostor pairs than that.
    """
    check_vectors("embeddings", embeddings)
    check_labels("labels", labels, embeddings, "embeddings")
    check_integer("ignore_index", ignore_index)
    check = should_check(embeddings.device.type, validate)
    return resolve_sample_labels(labels, ignore_index, check, needs_pairs, correction, backend)
