"""Every loss on one to four ranks: the loss, the bits and the gradients of one process."""

from __future__ import annotations

import pytest
import torch

import dmlkernels as dml
from tests.distributed.evaluate import BY_NAME, evaluate, evaluate_weights, gradients_of, joined
from tests.distributed.world import World
from tests.losses import Loss
from tests.problem import CENTERS_PER_CLASS, NAMED, make_problem

HAS_NATIVE = dml.available_backends()["native"]

Setting = tuple[int, str, str, list[str]]
# ranks, parts of the batch, layout of the proxies, cases
SETTINGS = [
    (1, "even", "replicated", ["plain"]),
    (2, "uneven", "replicated", ["class_ids", "some_ignored"]),
    (3, "empty", "replicated", ["clustered", "unordered_proxies"]),
    (3, "even", "copies", ["plain", "class_ids"]),
    (1, "even", "sharded", ["some_ignored"]),
    (2, "uneven", "sharded", ["clustered", "converged_0.01"]),
    (3, "empty", "sharded", ["plain", "unordered_proxies"]),
    (3, "uneven", "sharded", ["large", "singletons"]),
    (4, "uneven", "sharded", ["class_ids", "some_ignored"]),
    (4, "empty", "table", ["clustered", "class_ids"]),
    (4, "uneven", "table", ["plain", "two_classes"]),
]


def check(world: World, names: list[str], case: str, setting: Setting, backend: str) -> None:
    size, parts, layout, _ = setting
    losses: list[Loss] = [BY_NAME[name] for name in names if _applies(BY_NAME[name], case, setting)]
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


def _applies(loss: Loss, case: str, setting: Setting) -> bool:
    size, _, layout, _ = setting
    if "centers" in loss.inputs and layout in ("sharded", "table"):
        shards = size if layout == "sharded" else 2
        whole = -(-NAMED[case].num_proxies * CENTERS_PER_CLASS // shards) % CENTERS_PER_CLASS == 0
        if not whole:  # a class would straddle two ranks
            return False
    if {"class_margin", "class_scale", "class_weights"} & set(loss.keywords.values()) and NAMED[
        case
    ].proxy_labels is not None:
        return max(NAMED[case].labels) < NAMED[case].num_classes
    return loss.applies(NAMED[case])


@pytest.mark.sampled(2)
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: "-".join(map(str, setting[:3])))
def test_ranks_agree_with_one_process(world: World, setting: Setting, pytestconfig: pytest.Config) -> None:
    """What ranks exchange does not depend on the backend: one case of each setting takes torch, the other native.

    Without ``--every`` each of them takes half of the losses.
    """
    step = 1 if pytestconfig.getoption("--every") else 2
    for i, (case, backend) in enumerate(zip(setting[3], ("torch", "native" if HAS_NATIVE else "torch"), strict=False)):
        check(world, list(BY_NAME)[i % step :: step], case, setting, backend)


@pytest.mark.parametrize(
    ("size", "parts", "layout"), [(1, "even", "replicated"), (2, "uneven", "replicated"), (3, "empty", "sharded")]
)
def test_gradient_of_the_weights_of_samples(world: World, size: int, parts: str, layout: str) -> None:
    names = ["softmax_weighted", "odba_weighed", "odba_weighed_sum", "symmetric_kl_weighed"]
    ranks = world.run(size, evaluate_weights, names, "some_ignored", parts, layout)
    for i, name in enumerate(names):
        everyone = [found[i] for found in ranks]
        problem = make_problem("some_ignored")
        problem.weight.requires_grad_()
        value = BY_NAME[name](problem)
        (expected,) = torch.autograd.grad(value, problem.weight)
        for found in everyone:
            torch.testing.assert_close(found.loss, value.detach(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(joined(everyone, "weight", layout, False), expected, rtol=1e-10, atol=1e-12)
