"""The second view of a batch: the intervention inside a backbone, and what it must not disturb."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmlkernels.couce.batch_norm import frozen_running_statistics
from dmlkernels.couce.fourier import fourier_intervention
from dmlkernels.couce.intervention import FourierIntervention
from dmlkernels.couce.second_view import captured, intervened_forward


class Block(nn.Module):
    """A residual block; its activation may be shared with others, its sum may be in place."""

    def __init__(self, channels: int, activation: nn.Module, in_place: bool) -> None:
        super().__init__()
        self.in_place = in_place
        self.conv, self.norm, self.activation = (
            nn.Conv2d(channels, channels, 3, 1, 1),
            nn.BatchNorm2d(channels),
            activation,
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(self.activation(x)))
        if self.in_place:
            y += x
            return y
        return y + x


class ResNet(nn.Module):
    """A small residual network with functional code between its submodules."""

    def __init__(self, *, in_place: bool = False, shared: bool = False, skip: bool = False) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6)
        self.relu = nn.ReLU()
        activation = self.relu if shared else nn.ReLU()
        self.stages = nn.ModuleList([nn.Sequential(Block(6, activation, in_place)) for _ in range(3)])
        self.head = nn.Linear(6, 5)
        self.in_place, self.skip = in_place, skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x))
        if self.in_place:
            x += 1.0
        x = start = self.relu(x)
        for stage in self.stages:
            x = stage(x)
            if self.in_place:
                x = F.relu(x, inplace=True)
            x = self.relu(x - 0.1)
        if self.skip:
            x = x + start
        return self.head(F.adaptive_avg_pool2d(x.square(), 1).flatten(1))


VARIANTS: list[dict[str, bool]] = [
    {},
    {"in_place": True},
    {"shared": True},
    {"skip": True},
    {"in_place": True, "shared": True, "skip": True},
]


def network(**options: bool) -> ResNet:
    torch.manual_seed(0)
    return ResNet(**options).double()


def images() -> Tensor:
    return torch.randn(6, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def intervention(seed: int = 5) -> Callable[[Tensor], Tensor]:
    return lambda features: fourier_intervention(features, generator=torch.Generator().manual_seed(seed))


def by_hand(model: nn.Module, batch: Tensor, after: str) -> tuple[Tensor, Tensor]:
    """Both views with two whole passes, on a copy whose running statistics do not matter."""
    first = model(batch)
    hook = model.get_submodule(after).register_forward_hook(lambda _, __, output: intervention()(output))
    try:
        return first, model(batch)
    finally:
        hook.remove()


def calls_of(model: nn.Module) -> dict[str, int]:
    """Counts the calls that really compute, by wrapping the forward of each leaf's class instance in a subclass."""
    counts: dict[str, int] = {}

    def watch(name: str, leaf: nn.Module) -> None:
        kind = type(leaf)

        class Watched(kind):  # type: ignore[misc, valid-type]
            def forward(self, *args: Any, **kwargs: Any) -> Any:
                counts[name] = counts.get(name, 0) + 1
                return super().forward(*args, **kwargs)

        leaf.__class__ = Watched

    for name, leaf in model.named_modules():
        if not list(leaf.children()):
            watch(name, leaf)
    return counts


def running_statistics(model: nn.Module) -> list[Tensor]:
    return [buffer.clone() for buffer in model.buffers()]


def traces(model: nn.Module) -> list[Any]:
    """Everything a helper could have left behind."""
    return [
        (name, sorted(vars(module)), len(module._forward_hooks), len(module._forward_pre_hooks), module.training)
        for name, module in model.named_modules()
    ] + [module.track_running_stats for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


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
    assert counts["relu"] == 4 + 2


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
    model.stem.register_full_backward_hook(lambda *_: passes.append(None))
    batch = images().requires_grad_()
    first, second = intervened_forward(model, batch, after="stages.1", intervention=intervention())
    (first.sum() + second.square().sum()).backward()
    assert len(passes) == 1


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


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch.compile's own doing
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("compiled", ["stages.0", "stages.1", "stages.2"])
def test_compiled_submodules_run_again(compiled: str) -> None:
    model = network()
    model.get_submodule(compiled).compile(backend="eager")
    views = intervened_forward(model, images(), after="stages.1", intervention=intervention())
    assert all(map(torch.allclose, views, by_hand(network(), images(), "stages.1")))
    model = network()
    model.stages[int(compiled[-1])] = torch.compile(model.get_submodule(compiled), backend="eager")
    views = intervened_forward(model, images(), after="stages.1", intervention=intervention())
    assert all(map(torch.allclose, views, by_hand(network(), images(), "stages.1")))


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


# The warning


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


# Running statistics


@pytest.fixture
def norms() -> list[nn.Module]:
    return [
        nn.BatchNorm2d(4),
        nn.BatchNorm2d(4, momentum=None),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.InstanceNorm2d(4, track_running_stats=True),
        nn.BatchNorm2d(4).eval(),
    ]


def test_frozen_running_statistics_normalise_as_ever(norms: list[nn.Module]) -> None:
    model = nn.ModuleList(norms)
    features = 3 * torch.randn(5, 4, 6, 6) + 2
    before = running_statistics(model)
    tracking = [layer.track_running_stats for layer in norms]
    with frozen_running_statistics(model):
        frozen = [layer(features) for layer in norms]
    assert all(map(torch.equal, running_statistics(model), before))
    assert [layer.track_running_stats for layer in norms] == tracking
    assert all(map(torch.equal, frozen, [layer(features) for layer in norms]))
    assert not all(map(torch.equal, running_statistics(model), before))
    with pytest.raises(ArithmeticError), frozen_running_statistics(model):
        raise ArithmeticError
    assert [layer.track_running_stats for layer in norms] == tracking
