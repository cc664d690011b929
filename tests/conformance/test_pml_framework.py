"""Drop-in use in pytorch-metric-learning: its wrappers call our modules as they call their own losses."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import dmlkernels as dml
from tests.conformance.test_modules import DIM, LABELS, every_owner, made, samples

pytest.importorskip("pytorch_metric_learning")
from pytorch_metric_learning import losses, miners
from pytorch_metric_learning.utils.distributed import DistributedLossWrapper

KEPT = LABELS.clamp_min(0)


class AnyLossMemory(losses.CrossBatchMemory):
    """Theirs lists the losses that it takes by name."""

    @classmethod
    def check_loss_support(cls, loss_name: str) -> None:
        pass


@every_owner
def test_multiple_losses(build: Any) -> None:
    module = made(build)
    theirs = losses.ContrastiveLoss()
    joint = losses.MultipleLosses([module, theirs], weights=[0.5, 2.0])
    found = joint(samples(), KEPT)
    torch.testing.assert_close(found, 0.5 * module(samples(), KEPT) + 2.0 * theirs(samples(), KEPT))


def test_multiple_losses_with_a_miner() -> None:
    module = made(dml.ProxyAnchorLoss)
    joint = losses.MultipleLosses([module], miners=[miners.MultiSimilarityMiner()])
    with pytest.warns(UserWarning, match=r"^indices_tuple: ProxyAnchorLoss sees every sample"):
        assert torch.equal(joint(samples(), KEPT), module(samples(), KEPT))


@every_owner
def test_their_memory_is_our_memory(build: Any) -> None:
    theirs, ours = AnyLossMemory(made(build), DIM, memory_size=20), dml.CrossBatchMemory(made(build), DIM, 20)
    for seed in range(5):  # the ring goes round
        x = samples(seed).requires_grad_()
        found, expected = theirs(x, KEPT), ours(x, KEPT)
        if seed < 3:  # until they overwrite: theirs stores the batch first, so it holds the batch instead of the oldest
            torch.testing.assert_close(found, expected)
        assert found.isfinite()


def test_their_memory_knows_its_losses_by_name() -> None:
    with pytest.raises(Exception, match="CrossBatchMemory not supported for PDLoss"):
        losses.CrossBatchMemory(made(dml.PDLoss), DIM)


def test_their_distributed_wrapper_takes_only_their_classes() -> None:
    with pytest.raises(TypeError, match="must extend BaseMetricLossFunction"):
        DistributedLossWrapper(made(dml.PDLoss))
