"""The second view of a batch: the intervention inside a backbone, and what it must not disturb."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmlkernels.couce.intervention import FourierIntervention
from dmlkernels.couce.second_view import captured, intervened_forward
from tests.couce.networks import VARIANTS, by_hand, images, intervention, network, running_statistics, traces


@pytest.mark.parametrize("reuse_trunk", [True, False])
@pytest.mark.parametrize("after", ["stages.0", "stages.1", "stages.1.0", "stages.1.0.norm", "stem"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_views_and_gradients_are_those_of_two_whole_passes(
    variant: dict[str, bool], training: bool, after: str, reuse_trunk: bool
) -> None:
    model, twin = network(**variant).train(training), network(**variant).train(training)
    views = intervened_forward(model, images(), after=after, intervention=intervention(), reuse_trunk=reuse_trunk)
    expected = by_hand(twin, images(), after)
    for view, expected_view in zip(views, expected, strict=True):
        assert torch.allclose(view, expected_view, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(views[0], views[1], atol=1e-4)
    weights = torch.randn(2, 6, 5, dtype=torch.float64)
    (torch.stack(views) * weights).sum().backward()
    (torch.stack(expected) * weights).sum().backward()
    for parameter, expected_parameter in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(parameter.grad, expected_parameter.grad, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("reuse_trunk", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_running_statistics_are_those_of_the_first_view_alone(training: bool, reuse_trunk: bool) -> None:
    model, twin = network().train(training), network().train(training)
    left = traces(model)
    intervened_forward(model, images(), after="stages.0", intervention=intervention(), reuse_trunk=reuse_trunk)
    twin(images())
    assert all(map(torch.equal, running_statistics(model), running_statistics(twin)))
    assert traces(model) == left


@pytest.mark.parametrize("when", ["first pass", "intervention", "second pass"])
def test_an_error_leaves_no_trace(when: str) -> None:
    model = network()
    left = traces(model)
    seen: list[None] = []

    def fail_in_time(*_: Any) -> None:
        seen.append(None)
        if len(seen) == {"first pass": 1, "second pass": 2}.get(when):
            raise ArithmeticError(when)

    def intervene(features: Tensor) -> Tensor:
        if when == "intervention":
            raise ArithmeticError(when)
        return features + 1

    with model.head.register_forward_hook(fail_in_time), pytest.raises(ArithmeticError, match=when):
        intervened_forward(model, images(), after="stages.1", intervention=intervene)
    assert traces(model) == left


def test_hooks_of_the_user_still_fire() -> None:
    model = network()
    model.stages[0].register_forward_hook(lambda _, __, output: output * 2)
    model.stages[1].register_forward_hook(lambda _, __, output: output + 3)
    twin = copy.deepcopy(model)
    views = intervened_forward(model, images(), after="stages.1", intervention=intervention())
    assert all(map(torch.allclose, views, by_hand(twin, images(), "stages.1")))


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_an_intervention_that_does_nothing_gives_the_same_view(variant: dict[str, bool]) -> None:
    model = network(**variant).eval()
    first, second = intervened_forward(model, images(), after="stages.0", intervention=FourierIntervention().eval())
    assert torch.equal(first, second)
    (first + second).sum().backward()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_works_without_gradients(mode: Callable[[], Any]) -> None:
    model, twin = network(in_place=True), network(in_place=True)
    with mode():
        views = intervened_forward(model, images(), after="stages.1", intervention=intervention())
        assert all(map(torch.allclose, views, by_hand(twin, images(), "stages.1")))


def test_works_under_autocast() -> None:
    model = network().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        first, second = intervened_forward(
            model, images().float(), after="stages.1", intervention=FourierIntervention()
        )
    assert first.dtype == second.dtype == torch.bfloat16
    assert not torch.equal(first, second) and second.isfinite().all()


def test_captured_collects_outputs_and_goes_away() -> None:
    model = network()
    left = traces(model)
    with captured(model, "stages.2") as maps:
        first, second = intervened_forward(model, images(), after="stages.1", intervention=intervention())
    assert traces(model) == left
    for feature_map, view in zip(maps, (first, second), strict=True):
        pooled = F.relu(feature_map - 0.1).square().mean((2, 3))
        assert torch.allclose(model.head(pooled), view)


class Odd(nn.Module):
    """Calls its parts in unusual numbers."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.part, self.pair, self.times = nn.Conv2d(3, 3, 1), Pair(), times

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times):
            x = self.part(x)
        return self.pair(x)[0].mean((2, 3))


class Pair(nn.Module):
    """Returns no tensor."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


@pytest.mark.parametrize("times", [0, 2])
def test_the_submodule_must_run_once(times: int) -> None:
    model = Odd(times)
    left = traces(model)
    with pytest.raises(RuntimeError, match=f"^after: 'part' ran {times} times, expected once"):
        intervened_forward(model, images().float(), after="part", intervention=intervention())
    assert traces(model) == left


def test_bad_arguments() -> None:
    with pytest.raises(TypeError, match=r"^after: 'pair' returned tuple, expected a tensor"):
        intervened_forward(Odd(1), images().float(), after="pair", intervention=intervention())
    for name in ("layer9", "", "stages.7"):
        with pytest.raises(ValueError, match=rf"^after: got '{name}', expected a submodule, such as one of stem, norm"):
            intervened_forward(network(), images(), after=name, intervention=intervention())
    with pytest.raises(TypeError, match=r"^backbone: got function, expected"):
        intervened_forward(lambda x: x, images(), after="a", intervention=intervention())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^name: got 'layer9'"), captured(network(), "layer9"):
        pass
