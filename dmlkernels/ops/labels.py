"""Labels checked and made uniform, opaquely to torch.compile and without ever synchronising with a GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.backends.native.labels import resolved
from dmlkernels.ops.library import register
from dmlkernels.ops.relabel import count_of_class
from dmlkernels.statistics import IGNORED


def _resolve_labels(
    labels: Tensor,  # (B,)
    proxy_labels: Tensor | None,  # (C,); None: proxy j has class j
    num_proxies: int,
    ignore_index: int,
    check: bool,
    needs_samples: bool,
    needs_impostors: bool,
    correction: int,
) -> tuple[Tensor, Tensor]:
    """Labels as int64 with IGNORED for ``ignore_index``, and a scalar to add to the loss.

    With ``check`` a label that no proxy has, a class that is IGNORED, and a batch without samples or without impostors
    where the loss needs them, or with no more than ``correction`` scores of either kind, raise a ValueError. Without,
    nothing is read on the host and the scalar is NaN for such a label or class, else 0.
    """
    if proxy_labels is None and check and not correction and num_proxies > 1:
        found = resolved(labels, ignore_index, num_proxies)
        if found is not None:
            return found, labels.new_zeros((), dtype=torch.float32)
    wide = _as_int64(labels)
    ignored = wide == ignore_index
    if proxy_labels is None:
        unknown = (wide < 0) | (wide >= num_proxies)
        reserved = None
    else:
        classes = proxy_labels.to(torch.int64).sort().values
        place = torch.searchsorted(classes, wide).clamp_max(num_proxies - 1)
        unknown = classes[place] != wide
        reserved = classes[0] == IGNORED
    unknown &= ~ignored
    if check:
        if reserved is not None and reserved:
            raise ValueError(f"proxy_labels: got {IGNORED}, expected any other int64: it marks ignored rows")
        _raise_if_unusable(wide, proxy_labels, num_proxies, ignore_index, unknown, needs_samples, needs_impostors)
        if correction:
            raise_if_too_few(*_count_scores(wide[~ignored], proxy_labels, num_proxies), correction)
        poison = labels.new_zeros((), dtype=torch.float32)
    else:
        poison = _nan_if(unknown.any() if reserved is None else unknown.any() | reserved)
    return wide.masked_fill_(ignored, IGNORED), poison


def _resolve_pair_labels(
    labels: Tensor,  # (B,)
    ignore_index: int,
    check: bool,
    needs_pairs: bool,
    correction: int,
) -> tuple[Tensor, Tensor]:
    """Labels of a batch whose samples meet each other, and a scalar to add to the loss, as in ``_resolve_labels``.

    With ``check`` a batch without samples and a class that is IGNORED raise a ValueError; with ``needs_pairs`` also a
    batch without a same-class pair or without a different-class pair, or with no more than ``correction`` of either.
    """
    wide = _as_int64(labels)
    ignored = wide == ignore_index
    reserved = ((wide == IGNORED) & ~ignored).any()
    if check:
        if reserved:
            raise ValueError(f"labels: got {IGNORED}, expected any other int64: it marks ignored rows")
        raise_if_unpaired(*_count_pairs(wide[~ignored]), needs_pairs, correction)
        poison = labels.new_zeros((), dtype=torch.float32)
    else:
        poison = _nan_if(reserved)
    return wide.masked_fill_(ignored, IGNORED), poison


def _fake(labels: Tensor, *args: object) -> tuple[Tensor, Tensor]:
    return labels.new_empty(labels.shape, dtype=torch.int64), labels.new_empty((), dtype=torch.float32)


def _as_int64(labels: Tensor) -> Tensor:
    """A copy that holds every ``ignore_index`` as it was given: compared as uint8, -100 is class 156."""
    return labels.to(torch.int64, copy=True)


def _nan_if(condition: Tensor) -> Tensor:
    return torch.where(condition, torch.nan, 0.0).to(torch.float32)


def _raise_if_unusable(
    labels: Tensor,
    proxy_labels: Tensor | None,
    num_proxies: int,
    ignore_index: int,
    unknown: Tensor,
    needs_samples: bool,
    needs_impostors: bool,
) -> None:
    if unknown.any():
        first = int(labels[unknown][0])
        classes = f"0 to {num_proxies - 1}" if proxy_labels is None else "the classes in proxy_labels"
        raise ValueError(
            f"labels: {first} is the class of no proxy; expected {classes}, or ignore_index={ignore_index}"
        )
    if needs_samples and bool((labels == ignore_index).all()):
        raise ValueError(
            f"labels: the genuine set is empty: all {labels.numel()} labels are ignore_index={ignore_index}; "
            "at least one sample of a proxy's class is needed"
        )
    if needs_impostors and proxy_labels is not None and bool((proxy_labels == proxy_labels[0]).all()):
        raise ValueError(
            f"proxy_labels: the impostor set is empty: all {num_proxies} proxies have class {int(proxy_labels[0])}; "
            "at least two classes are needed"
        )
    if needs_impostors and proxy_labels is None and num_proxies < 2:
        raise ValueError("proxies: the impostor set is empty: there is one proxy; at least two classes are needed")


def _count_pairs(present: Tensor) -> tuple[int, int, int]:
    """Samples, and the same-class and different-class pairs of them, of the labels that are not ignored."""
    counts = present.unique(return_counts=True)[1]
    samples = present.numel()
    genuine = int((counts * (counts - 1)).sum()) // 2
    return samples, genuine, samples * (samples - 1) // 2 - genuine


def raise_if_unpaired(samples: int, genuine: int, impostors: int, needs_pairs: bool, correction: int) -> None:
    """Raise if the samples and pairs that are not ignored are too few."""
    if samples == 0:
        raise ValueError("labels: every row is ignored; at least one sample is needed")
    if needs_pairs and impostors == 0:
        raise ValueError(f"labels: the impostor set is empty: all {samples} samples are of one class")
    if needs_pairs and genuine == 0:
        raise ValueError(f"labels: the genuine set is empty: all {samples} samples are of different classes")
    raise_if_too_few(genuine, impostors, correction)


def _count_scores(present: Tensor, proxy_labels: Tensor | None, num_proxies: int) -> tuple[int, int]:
    """Genuine and impostor scores of the labels that are not ignored."""
    genuine = present.numel()
    if proxy_labels is not None:
        genuine = int(count_of_class(present, proxy_labels.to(torch.int64)).sum())
    return genuine, present.numel() * num_proxies - genuine


def raise_if_too_few(genuine: int, impostors: int, correction: int) -> None:
    """A variance divides by the number of scores less the correction."""
    for kind, number in (("genuine", genuine), ("impostor", impostors)):
        if 0 < number <= correction:
            raise ValueError(
                f"correction: got {correction}, expected 0 for a batch with {number} {kind} score: "
                "an unbiased variance needs more"
            )


resolve_labels = register(
    "resolve_labels",
    "(Tensor labels, Tensor? proxy_labels, int num_proxies, int ignore_index, bool check, "
    "bool needs_samples, bool needs_impostors, int correction) -> (Tensor, Tensor)",
    _resolve_labels,
    _fake,
)
resolve_pair_labels = register(
    "resolve_pair_labels",
    "(Tensor labels, int ignore_index, bool check, bool needs_pairs, int correction) -> (Tensor, Tensor)",
    _resolve_pair_labels,
    _fake,
)
