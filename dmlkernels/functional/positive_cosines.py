"""The cosine of each sample with the proxies of its class, for what is held fixed."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels import ops
from dmlkernels.functional.cosines import unit_rows
from dmlkernels.functional.cross_entropy import class_scores
from dmlkernels.functional.inputs import ProxyInputs


@torch.no_grad()
def positive_cosines(inputs: ProxyInputs, scale: float | Tensor) -> Tensor:  # (B,)
    """Cosines of samples with the proxy of their class, or with several of them logsumexp(scale s) / scale.

    Those of ignored rows are any finite number.
    """
    if inputs.proxy_labels is not None or inputs.is_sharded:
        return inputs.statistics(*class_scores(inputs, scale))[:, 0] / scale
    if inputs.has_row_kernels:
        return ops.positive_cosines(inputs.embeddings, inputs.proxies, inputs.labels)
    positive = inputs.proxies[inputs.labels.clamp(0, inputs.num_proxies - 1)]
    kept = torch.where(inputs.valid[:, None], inputs.embeddings, 0)
    return (unit_rows(kept, inputs.dtype) * unit_rows(positive, inputs.dtype)).sum(1)


def mean_over_samples(inputs: ProxyInputs, values: Tensor) -> Tensor:  # (B,) -> ()
    """The mean over the samples of the whole batch that take part."""
    total, count = inputs.totals(torch.where(inputs.valid, values, 0).sum(), inputs.valid.sum().to(values.dtype))
    return total / count
