"""What the second pass runs again, and what it may not hand out again."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dmlkernels.couce.second_view import captured, intervened_forward
from tests.couce.networks import by_hand, calls_of, images, intervention, network


def test_only_what_follows_the_intervention_runs_twice() -> None:
    model = network()
    counts = calls_of(model)
    intervened_forward(model, images(), after="stages.1", intervention=intervention())
    twice = {name for name, count in counts.items() if count == 2 and name != "relu"}
    once = {name for name, count in counts.items() if count == 1}
    assert {name.split(".")[1] for name in once if name.startswith("stages")} == {"0", "1"}
    assert {"stem", "norm"} <= once
    assert twice - {name for name in twice if name.endswith("activation")} == {
        "stages.2.0.conv",
        "stages.2.0.norm",
        "head",
    }
    assert counts["relu"] == 4 + 4  # called twice before the intervention: which output is whose?


def test_capturing_the_intervened_map_costs_no_second_run() -> None:
    """As a dictionary of backgrounds does it."""
    model = network()
    counts = calls_of(model)
    with captured(model, "stages.1") as maps:
        intervened_forward(model, images(), after="stages.1", intervention=intervention())
    assert counts["stages.0.0.conv"] == counts["stages.1.0.conv"] == 1
    assert len(maps) == 2 and maps[0] is maps[1]


def test_submodules_whose_output_was_overwritten_run_again() -> None:
    model = network(in_place=True)
    counts = calls_of(model)
    intervened_forward(model, images(), after="stages.1", intervention=intervention())
    assert counts["stem"] == 1 and counts["norm"] == 2
    assert counts["stages.0.0.conv"] == 2 and counts["stages.1.0.conv"] == 1


def test_modules_in_several_places_run_again() -> None:
    model = network(shared=True)
    counts = calls_of(model)
    intervened_forward(model, images(), after="stages.1", intervention=intervention())
    assert counts["stem"] == 1 and counts["stages.0.0.conv"] == 1 and counts["stages.2.0.conv"] == 2


def test_the_trunk_gets_its_gradient_in_one_pass() -> None:
    model = network()
    passes: list[None] = []

    class Counting(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            passes.append(None)
            return gradient

    class Stem(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return Counting.apply(super().forward(x))

    model.stem.__class__ = Stem
    first, second = intervened_forward(model, images(), after="stages.1", intervention=intervention())
    (first.sum() + second.square().sum()).backward()
    assert len(passes) == 1


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("compiled", ["stages", "stages.0", "stages.1", "stages.2"])
def test_compiled_submodules_run_again(compiled: str) -> None:
    model = network()
    model.get_submodule(compiled).compile(backend="eager", fullgraph=True)
    views = intervened_forward(model, images(), after="stages.1", intervention=intervention())
    assert all(map(torch.allclose, views, by_hand(network(), images(), "stages.1")))
    if compiled == "stages":
        return
    model = network()
    model.stages[int(compiled[-1])] = torch.compile(model.get_submodule(compiled), backend="eager")
    views = intervened_forward(model, images(), after="stages.1", intervention=intervention())
    assert all(map(torch.allclose, views, by_hand(network(), images(), "stages.1")))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_a_compiled_submodule_is_compiled_once() -> None:
    model, graphs = network(), list[Any]()

    def count(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph

    model.stages[1].compile(backend=count)
    for seed in range(3):
        intervened_forward(model.eval(), images(), after="stages.1", intervention=intervention(seed))
    assert len(graphs) == 1


def test_scripted_submodules_run_again() -> None:
    class Trunk(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.a, self.b = (torch.jit.script(nn.Conv2d(3, 3, 1).double()) for _ in range(2))
            self.neck = nn.Conv2d(3, 3, 1).double()

        def forward(self, x: Tensor) -> Tensor:
            x = self.b(self.a(x))
            return (self.neck(x) + x).square().mean((2, 3))

    views = intervened_forward(Trunk(), images(), after="neck", intervention=intervention())
    assert all(map(torch.allclose, views, by_hand(Trunk(), images(), "neck")))
