"""The warning where an intervention can change nothing but the mean."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmlkernels.couce.intervention import FourierIntervention
from dmlkernels.couce.second_view import intervened_forward
from tests.couce.networks import images, network


def tail(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), *layers)


class Tail(nn.Module):
    """A trunk, then any function of its feature map."""

    def __init__(self, rest: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.trunk, self.rest = nn.Conv2d(3, 4, 3), rest

    def forward(self, x: Tensor) -> Tensor:
        return self.rest(self.trunk(x))


def warned(model: nn.Module, after: str) -> bool:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        intervened_forward(model, images().float(), after=after, intervention=FourierIntervention())
    return any("only the DC bin" in str(warning.message) for warning in caught)


POINTLESS: dict[str, nn.Module] = {
    "pool": tail(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
    "pool and a non-linear head": tail(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4), nn.ReLU()),
    "identity, convolution, dropout off": tail(
        nn.Identity(), nn.Conv2d(4, 4, 1), nn.Dropout(0.0), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten()
    ),
    "window as large as the map": tail(nn.AvgPool2d(14), nn.Flatten()),
    "frozen normalisation": tail(nn.BatchNorm2d(4).eval(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
}

USEFUL: dict[str, nn.Module] = {
    "ReLU before the pool": tail(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "max pool": tail(nn.AdaptiveMaxPool2d(1), nn.Flatten()),
    "no pool": tail(nn.Flatten(), nn.Linear(4 * 14 * 14, 2)),
    "pool of a part": tail(nn.AvgPool2d(2), nn.Flatten()),
    "normalisation in training": tail(nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "pool over rows": Tail(lambda x: x.mean(2).flatten(1)),
    "average plus maximum": Tail(lambda x: x.mean((2, 3)) + x.amax((2, 3))),
    "functional ReLU": Tail(lambda x: F.relu(x).mean((2, 3))),
    "in-place ReLU": Tail(lambda x: F.relu_(x).mean((2, 3))),
    "spatial weights": Tail(lambda x: (x * torch.linspace(0, 1, 14)).mean((2, 3))),
    "square": Tail(lambda x: x.square().mean((2, 3))),
}


@pytest.mark.parametrize("model", POINTLESS.values(), ids=POINTLESS.keys())
def test_warns_once_where_only_the_mean_survives(model: nn.Module) -> None:
    assert warned(model, "0")
    assert not warned(model, "0")


@pytest.mark.parametrize("rest", [lambda x: x.mean((2, 3)), lambda x: F.adaptive_avg_pool2d(-x + 1, 1).flatten(1)])
def test_warns_for_functional_code_too(rest: Callable[[Tensor], Tensor]) -> None:
    assert warned(Tail(rest), "trunk")


@pytest.mark.parametrize("model", USEFUL.values(), ids=USEFUL.keys())
def test_does_not_warn_where_more_than_the_mean_survives(model: nn.Module) -> None:
    assert not warned(model, "0" if isinstance(model, nn.Sequential) else "trunk")


@pytest.mark.parametrize(("after", "expected"), [("stages.1", False), ("stages.2", False)])
def test_does_not_warn_inside_a_network(after: str, expected: bool) -> None:
    assert warned(network().float(), after) is expected


def test_is_silent_without_a_graph_and_looks_again_later() -> None:
    model = POINTLESS["pool"]
    model = copy.deepcopy(model)
    with torch.no_grad():
        assert not warned(model, "0")
    assert warned(model, "0")
