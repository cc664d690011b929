"""From a batch of images to a loss: the paper's loss and what surrounds it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import dmlkernels as dml
from retrieval_lib.config import Config
from retrieval_lib.errors import ConfigError
from retrieval_lib.network import Embedder

CLASSES = {
    "pd": dml.PDLoss,
    "field": dml.PotentialFieldLoss,
    "anchor": dml.ProxyAnchorLoss,
    "nca": dml.ProxyNCALoss,
    "softmax": dml.NormalizedSoftmaxLoss,
    "cosface": dml.CosFaceLoss,
    "arcface": dml.ArcFaceLoss,
    "soft_triple": dml.SoftTripleLoss,
}
Views = tuple[Tensor, Tensor | None, Tensor | None]  # embeddings, those of the second view, feature maps


class TwoViews(nn.Module):
    """What the objective needs of the network, in one forward pass that DistributedDataParallel can wrap."""

    def __init__(self, network: Embedder, config: Config) -> None:
        super().__init__()
        self.network, self.after, self.intervention = network, "", None
        self.maps_wanted = config.couce.enabled
        if config.couce.enabled and config.couce.invariance_weight:
            self.after = config.couce.after or f"backbone.body.{network.backbone.stage}"
            if self.after == "backbone.body.":
                raise ConfigError(f"couce.after: {network.backbone.origin} has no stages of its own; name a submodule")
            self.intervention = dml.FourierIntervention(eta=config.couce.eta)

    def forward(self, images: Tensor) -> Views:
        if not self.maps_wanted:
            return self.network(images), None, None
        with dml.captured(self.network, "backbone") as maps:
            if self.intervention is None:
                embeddings, intervened = self.network(images), None
            else:
                embeddings, intervened = dml.intervened_forward(
                    self.network, images, after=self.after, intervention=self.intervention
                )
        return embeddings, intervened, maps[0].detach()


class Objective(nn.Module):
    """The loss of two views. Its parameters are the proxies, its buffers the background dictionary."""

    def __init__(self, config: Config, num_classes: int, group: Any = None) -> None:
        super().__init__()
        self.base = make_loss(config, num_classes, group)
        self.loss, self.dictionary = self.base, None
        couce = config.couce
        if couce.enabled:
            if couce.odba_weight:
                self.dictionary = dml.BackgroundDictionary(couce.atoms, config.model.embedding_size)
            self.loss = dml.CouCE(
                self.base,
                dictionary=self.dictionary,
                odba_weight=couce.odba_weight,
                invariance_weight=couce.invariance_weight,
                temperature=couce.temperature,
                ramp_epochs=couce.ramp_epochs,
                warmup_epochs=config.train.warmup_epochs,
            )

    def forward(self, embeddings: Tensor, labels: Tensor, intervened: Tensor | None) -> Tensor:
        return self.loss(embeddings, labels) if intervened is None else self.loss(embeddings, labels, intervened)

    @torch.no_grad()
    def learn_background(self, feature_maps: Tensor | None, head: nn.Module) -> None:
        """Update the dictionary from the feature maps of a batch."""
        if self.dictionary is not None and feature_maps is not None:
            if feature_maps.dim() != 4:
                raise ConfigError("couce: the backbone gives no feature maps (B, C, H, W), expected one that does")
            self.dictionary.update(feature_maps, head)

    def set_epoch(self, epoch: float) -> None:
        """Move the ramp of the causal terms."""
        if isinstance(self.loss, dml.CouCE):
            self.loss.set_epoch(epoch)


def make_loss(config: Config, num_classes: int, group: Any = None) -> nn.Module:
    """The loss that the configuration names, with its own options."""
    options = dict(config.loss.options)
    if group is not None:
        options["process_group"] = group
    try:
        if config.loss.name == "d":
            return dml.DecidabilityLoss(**options)
        kind = CLASSES[config.loss.name]
        return kind(num_classes, config.model.embedding_size, proxy_init=config.loss.proxy_init, **options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"loss.options: {error}") from error
