"""Labels as numbers of the columns that are here, of a shard or of a sample of the classes, and how many have them."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.statistics import IGNORED

OUTSIDE = -1  # a row whose class is not here: unlike an IGNORED one it takes part, and meets negatives only


def shard_labels(labels: Tensor, first_class: int, num_classes: int) -> Tensor:  # (B,) int64
    """Labels relative to a shard, so that column j of it has class j; OUTSIDE for other classes."""
    shifted = labels - first_class
    inside = (labels >= first_class) & (shifted < num_classes)
    return torch.where(labels == IGNORED, IGNORED, torch.where(inside, shifted, OUTSIDE))


def places_among(chosen: Tensor, labels: Tensor) -> Tensor:  # (S,), (B,) -> (B,) int64
    """Where each label is among the ascending ``chosen``; OUTSIDE if it is not there."""
    if not chosen.shape[0]:
        return torch.where(labels == IGNORED, IGNORED, OUTSIDE)
    places = torch.searchsorted(chosen, labels).clamp_max(chosen.shape[0] - 1)
    found = torch.where(chosen[places] == labels, places, OUTSIDE)
    return torch.where(labels == IGNORED, IGNORED, found)


def count_of_class(labels: Tensor, proxy_labels: Tensor) -> Tensor:  # (B,)
    """How many of the proxies have each label as their class; none has that of ignored rows."""
    classes = proxy_labels.sort().values
    first, last = (torch.searchsorted(classes, labels, right=right) for right in (False, True))
    return last - first
