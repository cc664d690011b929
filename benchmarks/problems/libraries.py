"""What other libraries offer for the same losses."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from math import degrees
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness.steps import Step
from benchmarks.problems.inputs import Inputs

_PML: dict[str, tuple[str, str, dict[str, Any]]] = {  # ours -> class, its parameter, its options for our defaults
    "proxy_anchor": ("ProxyAnchorLoss", "proxies", {"alpha": 32, "margin": 0.1}),
    "proxy_nca": ("ProxyNCALoss", "proxies", {"softmax_scale": 9}),
    "normalized_softmax": ("NormalizedSoftmaxLoss", "W", {"temperature": 1 / 20}),
    "cosface": ("CosFaceLoss", "W", {"margin": 0.35, "scale": 64}),
    "arcface": ("ArcFaceLoss", "W", {"margin": degrees(0.5), "scale": 64}),
    "soft_triple": ("SoftTripleLoss", "fc", {"la": 20, "gamma": 0.1, "margin": 0.01}),
}
PML_LOSSES = frozenset(_PML) if importlib.util.find_spec("pytorch_metric_learning") else frozenset()


def pytorch_metric_learning(loss: str, inputs: Inputs) -> Step:
    """Its module, with our proxies in its parameter; softmax weights are stored D x C there."""
    from pytorch_metric_learning import losses

    name, parameter, options = _PML[loss]
    if loss == "soft_triple":
        options = options | {"centers_per_class": int((inputs.proxy_labels == 0).sum())}
    transposed = parameter in ("W", "fc")
    classes = int(inputs.proxy_labels[-1]) + 1
    with torch.device("meta"):  # their random initialisation takes seconds at the large shapes
        module = getattr(losses, name)(classes, inputs.proxies.shape[1], **options)
    weight = inputs.proxies.detach().T.contiguous() if transposed else inputs.proxies.detach()
    setattr(module, parameter, torch.nn.Parameter(weight))
    if hasattr(module, "proxy_labels"):
        module.proxy_labels = torch.arange(classes)

    def orient(gradients: list[Tensor]) -> list[Tensor]:
        return [gradients[0], gradients[1].T] if transposed else gradients

    leaves = [inputs.embeddings, getattr(module, parameter)]
    return Step(lambda: module(inputs.embeddings, inputs.labels), leaves, orient)


def linear_cross_entropy(inputs: Inputs) -> Callable[[], Tensor]:
    """torch's chunked product and cross-entropy (2.13), behind a normalisation."""
    options = torch.nn.LinearCrossEntropyOptions()

    def call() -> Tensor:
        samples = F.normalize(inputs.embeddings.to(inputs.proxies.dtype), eps=1e-12)
        return F.linear_cross_entropy(
            20 * samples, F.normalize(inputs.proxies, eps=1e-12), inputs.labels, options=options
        )

    return call


def liger(inputs: Inputs) -> Callable[[], Tensor]:
    """liger-kernel's fused linear cross-entropy; on a GPU only. Seen here interpreted on a CPU, where it is right."""
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    loss = LigerFusedLinearCrossEntropyLoss()

    def call() -> Tensor:
        samples = F.normalize(inputs.embeddings.to(inputs.proxies.dtype), eps=1e-12)
        return loss(F.normalize(inputs.proxies, eps=1e-12), 20 * samples, inputs.labels)

    return call


def cut_cross_entropy(inputs: Inputs) -> Callable[[], Tensor]:
    """Apple's cut cross-entropy; on a GPU only, in bfloat16 as it wants."""
    from cut_cross_entropy import linear_cross_entropy as cce

    def call() -> Tensor:
        samples = 20 * F.normalize(inputs.embeddings.float(), eps=1e-12)
        proxies = F.normalize(inputs.proxies.float(), eps=1e-12)
        return cce(samples.bfloat16(), proxies.bfloat16(), inputs.labels)

    return call


def has_linear_cross_entropy() -> bool:
    return hasattr(torch.nn, "LinearCrossEntropyOptions")


def has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
