"""Every loss, as ours and as the reference call it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import dmlkernels
from benchmarks.problems.inputs import Inputs
from dmlkernels import reference

Arguments = tuple[str, ...]
_PROXIES: Arguments = ("embeddings", "labels", "proxies")


@dataclass(frozen=True)
class Loss:
    """``arguments`` are fields of Inputs, in order; gradients are asked of ``leaves``."""

    name: str
    function: str
    arguments: Arguments = _PROXIES
    leaves: Arguments = ("embeddings", "proxies")
    options: dict[str, Any] = field(default_factory=dict)  # a function makes its option from the inputs
    several_proxies: str = "proxy_labels"  # how the function is told that proxies share classes; "": need not know

    def ours(self, inputs: Inputs, backend: str) -> Callable[[], Tensor]:
        return self._call(dmlkernels, inputs, backend=backend)

    def reference(self, inputs: Inputs, wrap: Callable[[Any], Any] = lambda function: function) -> Callable[[], Tensor]:
        return self._call(reference, inputs, wrap)

    def _call(
        self, module: Any, inputs: Inputs, wrap: Callable[[Any], Any] = lambda function: function, **options: Any
    ) -> Callable[[], Tensor]:
        function = wrap(getattr(module, self.function))
        arguments = [getattr(inputs, name) for name in self.arguments]
        own = {name: value(inputs) if callable(value) else value for name, value in self.options.items()}
        options = own | options | self._grouping(inputs)

        def call() -> Tensor:
            result = function(*arguments, **options)
            return result[0] if isinstance(result, tuple) else result

        return call

    def _grouping(self, inputs: Inputs) -> dict[str, Any]:
        labels = inputs.proxy_labels
        shared = len(labels) > 1 and bool(labels[1] == labels[0])
        if not shared or not self.several_proxies or "proxies" not in self.arguments:
            return {}
        if self.several_proxies == "proxy_labels":
            return {"proxy_labels": labels}
        return {self.several_proxies: int((labels == 0).sum())}


_FUSED = {"pd_weight": 1.0, "field_weight": 0.1, "odba_weight": 0.1}
_ALL = (
    Loss("pd", "pd_loss"),
    Loss("decidability", "decidability_loss", ("embeddings", "labels"), ("embeddings",)),
    Loss("field", "potential_field_loss"),
    Loss("odba", "odba_penalty", ("embeddings", "atoms"), ("embeddings",)),
    Loss(
        "symmetric_kl", "symmetric_kl_loss", ("embeddings", "second_view", "proxies"), ("embeddings", "second_view"),
        {"temperature": 0.2}, several_proxies="",
    ),
    Loss("fused", "fused_objective", ("embeddings", "labels", "proxies", "atoms"), options=_FUSED),
    Loss("proxy_anchor", "proxy_anchor_loss"),
    Loss("proxy_nca", "proxy_nca_loss"),
    Loss("normalized_softmax", "normalized_softmax_loss"),
    Loss("cosface", "cosface_loss"),
    Loss("arcface", "arcface_loss"),
    # At tau 0 it is what pytorch-metric-learning computes by default; with tau it has the regulariser of the paper.
    Loss("soft_triple", "soft_triple_loss", options={"tau": 0.0}, several_proxies="centers_per_class"),
    Loss("soft_triple_spread", "soft_triple_loss", several_proxies="centers_per_class"),
)  # fmt: skip
LOSSES = {loss.name: loss for loss in _ALL}


def _adacos_start(inputs: Inputs) -> Tensor:
    """The scale that AdaCos starts from."""
    return inputs.proxies.new_tensor(math.sqrt(2) * math.log(inputs.proxies.shape[0] - 1))


def _margins_of_sizes(inputs: Inputs) -> Tensor:
    """Margins of classes with 10, 20, 30, ... samples."""
    counts = 10 * torch.arange(1, inputs.proxies.shape[0] + 1, device=inputs.proxies.device)
    return dmlkernels.class_size_margins(counts)[None]


_ADAPTIVE = (
    Loss("sub_center_arcface", "sub_center_arcface_loss", several_proxies="centers_per_class"),
    Loss("adaface", "adaface_loss"),
    # Bounds around the norms that samples have in benchmarks.accuracy.
    Loss("magface", "magface_loss", options={"lower_norm": 0.4, "upper_norm": 1.5, "upper_margin": 1.2}),
    Loss("curricularface", "curricularface_loss", options={"hardness": 0.3}),
    Loss("circle", "circle_loss"),
    Loss("adacos", "normalized_softmax_loss", options={"scale": _adacos_start}),
    Loss("class_size_margins", "arcface_loss", options={"margin": _margins_of_sizes}),
)
ADAPTIVE = {loss.name: loss for loss in _ADAPTIVE}
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 5e-2}
