"""Every loss on one to four ranks: the loss, the bits and the gradients of one process."""

from __future__ import annotations

import pytest
import torch

import dmlkernels as dml
from tests.distributed.evaluate import BY_NAME, evaluate, gradients_of, joined
from tests.distributed.world import World
from tests.losses import Loss
from tests.problem import NAMED, make_problem

MERGED = [
    name for name, loss in BY_NAME.items()
    if loss.function in (
        "pd_loss", "normalized_softmax_loss", "proxy_nca_loss", "cosface_loss", "arcface_loss",
    )
]  # fmt: skip
BACKENDS = [name for name in ("torch", "native") if dml.available_backends()[name]]

# ranks, parts of the batch, layout of the proxies
SETTINGS = [
    (1, "even", "replicated"),
    (2, "uneven", "replicated"),
    (3, "empty", "replicated"),
    (3, "even", "copies"),
    (1, "even", "sharded"),
    (2, "uneven", "sharded"),
    (3, "empty", "sharded"),
    (4, "uneven", "sharded"),
    (4, "empty", "table"),
]
CASES = ["plain", "some_ignored", "unordered_proxies", "class_ids", "clustered", "converged_0.01", "singletons"]


def check(world: World, names: list[str], case: str, setting: tuple[int, str, str], backend: str) -> None:
    size, parts, layout = setting
    losses: list[Loss] = [BY_NAME[name] for name in names if _applies(BY_NAME[name], case)]
    ranks = world.run(size, evaluate, [loss.name for loss in losses], case, parts, layout, backend)
    for i, loss in enumerate(losses):
        everyone = [found[i] for found in ranks]
        truth = gradients_of(loss, make_problem(case), backend)
        rows = truth.loss.dim() > 0
        message = f"{loss.name} {case} {setting} {backend}"
        if rows:
            torch.testing.assert_close(torch.cat([found.loss for found in everyone]), truth.loss, rtol=1e-9, atol=1e-9)
        else:
            for found in everyone:
                assert torch.equal(found.loss, everyone[0].loss), message
            torch.testing.assert_close(everyone[0].loss, truth.loss, rtol=1e-9, atol=1e-9)
        for leaf, expected in truth.gradients.items():
            gradient = joined(everyone, leaf, layout, rows)
            largest = float(expected.abs().max())
            error = float((gradient - expected).abs().max())
            assert error <= 1e-9 * max(largest, 1e-9), f"{message}: {leaf} is {error} off at {largest}"


def _applies(loss: Loss, case: str) -> bool:
    if "class_margin" in loss.keywords.values() and NAMED[case].proxy_labels is not None:
        return max(NAMED[case].labels) < NAMED[case].num_classes
    return loss.applies(NAMED[case])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: "-".join(map(str, setting)))
def test_ranks_agree_with_one_process(world: World, setting: tuple[int, str, str], case: str, backend: str) -> None:
    check(world, MERGED, case, setting, backend)
