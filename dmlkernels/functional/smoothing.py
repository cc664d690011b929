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
    of_proxies = _of_proxies(inputs, class_weights)
    positives = inputs.num_positives.to(inputs.dtype)
    positive_weight = positives if weights is None else positives * weights
    kept = torch.where(inputs.valid[:, None], inputs.embeddings, 0)  # an ignored row may hold anything
    with without_autocast(kept.device.type):
        sum_of_proxies = inputs.sum_of_shards(unit_sum(inputs.proxies.to(inputs.dtype), of_proxies))
        sums = unit_rows(kept, inputs.dtype) @ sum_of_proxies
    total = inputs.num_proxies if of_proxies is None else inputs.sum_of_shards(of_proxies.sum())
    uniform = (total * log_normaliser - scale * sums - positive_weight * shift) / inputs.num_proxies
    return (1 - smoothing) * (losses if weights is None else losses * weights) + smoothing * uniform


def _of_proxies(inputs: ProxyInputs, class_weights: Tensor | None) -> Tensor | None:  # (C,)
    """The weight of each proxy's class."""
    if class_weights is None:
        return None
    class_weights = class_weights.detach().to(inputs.dtype)
    if inputs.classes is None:
        return class_weights
    index, unknown = class_index(inputs.classes, class_weights.shape[0], "class_weights", False)
    return torch.where(unknown, torch.nan, class_weights[index])
