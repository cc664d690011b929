"""Label smoothing without the scores: the sum of a row's scores is one product with the sum of the unit proxies."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.backends.autocast import without_autocast
from dmlkernels.functional.cosines import unit_rows
from dmlkernels.functional.inputs import ProxyInputs
from dmlkernels.ops import class_index, unit_sum


def smoothed(
    inputs: ProxyInputs,
    scale: float | Tensor,
    losses: Tensor,  # (B,), cross-entropy with the class of the sample
    log_normaliser: Tensor,  # (B,)
    shift: Tensor,  # (B,), what a margin adds to the positive logits
    smoothing: float,
    class_weights: Tensor | None,  # (C,)
    weights: Tensor | None,  # (B,), of the class of each sample
) -> Tensor:
    """(1 - smoothing) w_y loss + smoothing / C sum_j w_j (log_normaliser - z_j), z_j the logit of proxy j."""
    if inputs.num_proxies != inputs.proxies.shape[0]:
        raise ValueError("label_smoothing: got proxies that are sharded over ranks, expected 0 or whole proxies")
    of_proxies = _of_proxies(inputs, class_weights)
    positives = _count_positives(inputs)
    positive_weight = positives if weights is None else positives * weights
    kept = torch.where(inputs.valid[:, None], inputs.embeddings, 0)  # an ignored row may hold anything
    with without_autocast(kept.device.type):
        sums = unit_rows(kept, inputs.dtype) @ unit_sum(inputs.proxies.to(inputs.dtype), of_proxies)
    total = inputs.num_proxies if of_proxies is None else of_proxies.sum()
    uniform = (total * log_normaliser - scale * sums - positive_weight * shift) / inputs.num_proxies
    return (1 - smoothing) * (losses if weights is None else losses * weights) + smoothing * uniform


def _count_positives(inputs: ProxyInputs) -> Tensor:  # (B,)
    """How many proxies have each sample's class."""
    if inputs.proxy_labels is None:
        return torch.ones_like(inputs.labels, dtype=inputs.dtype)
    classes = inputs.proxy_labels.sort().values
    first, last = (torch.searchsorted(classes, inputs.labels, right=right) for right in (False, True))
    return (last - first).to(inputs.dtype)


def _of_proxies(inputs: ProxyInputs, class_weights: Tensor | None) -> Tensor | None:  # (C,)
    """The weight of each proxy's class."""
    if class_weights is None:
        return None
    class_weights = class_weights.detach().to(inputs.dtype)
    if inputs.proxy_labels is None:
        return class_weights
    index, unknown = class_index(inputs.proxy_labels, class_weights.shape[0], "class_weights", False)
    return torch.where(unknown, torch.nan, class_weights[index])
