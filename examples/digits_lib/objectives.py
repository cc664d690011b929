"""The losses that the example compares, each as one module from images to a scalar."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

import dmlkernels as dml
from digits_lib.data import TRAIN_CLASSES
from digits_lib.network import ConvNet

EMBEDDING_SIZE = 64
ATOMS = 16
SIZES = (TRAIN_CLASSES, EMBEDDING_SIZE)


class Objective(nn.Module):
    """A loss on embeddings, and what surrounds it in CouCE-style training.

    Args:
        loss: called with embeddings and labels, and with the embeddings of the second view if there is one.
        dictionary: background directions, learnt from the feature maps of every batch.
        intervention: makes the second view of a batch, from the output of the first stage.
    """

    def __init__(
        self,
        loss: nn.Module,
        *,
        dictionary: dml.BackgroundDictionary | None = None,
        intervention: dml.FourierIntervention | None = None,
    ) -> None:
        super().__init__()
        self.loss, self.dictionary, self.intervention = loss, dictionary, intervention

    def forward(self, network: ConvNet, images: Tensor, labels: Tensor) -> Tensor:
        with dml.captured(network, "stage3") as feature_maps:
            if self.intervention is None:
                views = [network(images)]
            else:
                views = list(dml.intervened_forward(network, images, after="stage1", intervention=self.intervention))
        if self.dictionary is not None:
            self.dictionary.update(feature_maps[0], network.head)
        return self.loss(views[0], labels, *views[1:])

    def set_epoch(self, epoch: float) -> None:
        """Move the ramp of the causal terms."""
        if isinstance(self.loss, dml.CouCE):
            self.loss.set_epoch(epoch)


def dictionary() -> dml.BackgroundDictionary:
    return dml.BackgroundDictionary(ATOMS, EMBEDDING_SIZE)


def intervention() -> dml.FourierIntervention:
    return dml.FourierIntervention(generator=torch.Generator().manual_seed(0))


def couce(base: nn.Module, *, odba: bool, msrci: bool) -> Objective:
    """A proxy loss with one or both of CouCE's terms."""
    atoms = dictionary() if odba else None
    return Objective(
        dml.CouCE(base, dictionary=atoms), dictionary=atoms, intervention=intervention() if msrci else None
    )


def fused() -> Objective:
    atoms = dictionary()
    loss = dml.FusedObjective(*SIZES, dictionary=atoms, pd_weight=1.0, field_weight=0.1, odba_weight=1.0)
    return Objective(loss, dictionary=atoms)


class Entry(NamedTuple):
    title: str
    make: Callable[[], Objective]


CATALOGUE = {
    "pd": Entry("PD-Loss", lambda: Objective(dml.PDLoss(*SIZES))),
    "d": Entry("D-Loss", lambda: Objective(dml.DecidabilityLoss())),
    "field": Entry("Potential field", lambda: Objective(dml.PotentialFieldLoss(*SIZES))),
    "pd+odba": Entry("PD-Loss + ODBA", lambda: couce(dml.PDLoss(*SIZES), odba=True, msrci=False)),
    "fused": Entry("Fused PD + field + ODBA", fused),
    "anchor": Entry("Proxy-Anchor", lambda: Objective(dml.ProxyAnchorLoss(*SIZES))),
    "anchor+odba": Entry("Proxy-Anchor + ODBA", lambda: couce(dml.ProxyAnchorLoss(*SIZES), odba=True, msrci=False)),
    "anchor+msrci": Entry("Proxy-Anchor + MSRCI", lambda: couce(dml.ProxyAnchorLoss(*SIZES), odba=False, msrci=True)),
    "anchor+couce": Entry("Proxy-Anchor + CouCE", lambda: couce(dml.ProxyAnchorLoss(*SIZES), odba=True, msrci=True)),
}
