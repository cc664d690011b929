"""The losses that the example compares, each as one module from images to a scalar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import dmlkernels as dml
from digits_lib.data import TRAIN_CLASSES
from digits_lib.network import ConvNet

EMBEDDING_SIZE = 64
ATOMS = 16
SIZES = (TRAIN_CLASSES, EMBEDDING_SIZE)
IMAGE = "image"


class Objective(nn.Module):
    """A loss on embeddings, and what surrounds it in CouCE-style training.

    Args:
        loss: called with embeddings and labels, and with the embeddings of the second view if there is one.
        dictionary: background directions, learnt from the feature maps of every batch.
        intervention: makes the second view of a batch.
        after: where it intervenes, a stage of the network or the image itself.
    """

    def __init__(
        self,
        loss: dml.LossModule | dml.CouCE,
        *,
        dictionary: dml.BackgroundDictionary | None = None,
        intervention: dml.FourierIntervention | None = None,
        after: str = "stage1",
    ) -> None:
        super().__init__()
        self.loss, self.dictionary, self.intervention, self.after = loss, dictionary, intervention, after

    def forward(self, network: ConvNet, images: Tensor, labels: Tensor) -> Tensor:
        with dml.captured(network, "stage3") as feature_maps:
            views = self._views(network, images)
        if self.dictionary is not None:
            self.dictionary.update(feature_maps[0].detach(), network.embed_background)
        return self.loss(views[0], labels, *views[1:])

    def _views(self, network: ConvNet, images: Tensor) -> tuple[Tensor, ...]:
        if self.intervention is None:
            return (network(images),)
        if self.after == IMAGE:
            return network(images), network(self.intervention(images))
        return dml.intervened_forward(network, images, after=self.after, intervention=self.intervention)

    def set_epoch(self, epoch: float) -> None:
        """Move the ramp of the causal terms."""
        if isinstance(self.loss, dml.CouCE):
            self.loss.set_epoch(epoch)


def dictionary() -> dml.BackgroundDictionary:
    return dml.BackgroundDictionary(ATOMS, EMBEDDING_SIZE)


def field(alpha: float) -> Callable[[], Objective]:
    options = {"alpha": alpha, "delta_att": 0.1, "delta_rep": 0.1, "proxies_per_class": 1}
    return lambda: Objective(dml.PotentialFieldLoss(*SIZES, **options))


def fused() -> Objective:
    options = {"pd_weight": 1.0, "field_weight": 0.1, "alpha": 1.0, "delta_att": 0.1, "delta_rep": 0.1}
    return Objective(dml.FusedObjective(*SIZES, **options))


def anchor_and_odba() -> Objective:
    atoms = dictionary()
    return Objective(dml.CouCE(dml.ProxyAnchorLoss(*SIZES), dictionary=atoms), dictionary=atoms)


def anchor_and_msrci(*, after: str = "stage1", eta: tuple[float, ...] = (0.5, 1.0, 1.0), **options: Any) -> Objective:
    intervention = dml.FourierIntervention(eta=eta, generator=torch.Generator().manual_seed(0))
    loss = dml.CouCE(dml.ProxyAnchorLoss(*SIZES), **options)
    return Objective(loss, intervention=intervention, after=after)


class Entry(NamedTuple):
    title: str
    make: Callable[[], Objective]


CATALOGUE = {
    "softmax": Entry("Normalised softmax", lambda: Objective(dml.NormalizedSoftmaxLoss(*SIZES))),
    "anchor": Entry("Proxy-Anchor", lambda: Objective(dml.ProxyAnchorLoss(*SIZES))),
    "pd": Entry("PD-Loss", lambda: Objective(dml.PDLoss(*SIZES))),
    "d": Entry("D-Loss (no proxies)", lambda: Objective(dml.DecidabilityLoss())),
    "field": Entry("Potential field, α = 1", field(1.0)),
    "field-slow": Entry("Potential field, α = 0.25", field(0.25)),
    "fused": Entry("PD-Loss + 0.1 field", fused),
    "anchor+odba": Entry("Proxy-Anchor + ODBA", anchor_and_odba),
    "anchor+msrci": Entry("Proxy-Anchor + MSRCI", anchor_and_msrci),
    "anchor+msrci50": Entry(
        "Proxy-Anchor + 50 MSRCI on the image",
        lambda: anchor_and_msrci(after=IMAGE, eta=(0.0, 1.0, 1.0), invariance_weight=50.0, temperature=0.05),
    ),
}
