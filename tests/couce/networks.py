"""Networks to take a second view of, and what to look at before and after."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmlkernels.couce.fourier import fourier_intervention


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


def by_hand(
    model: nn.Module, batch: Tensor, after: str, change: Callable[[Tensor], Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Both views with two whole passes, on a copy whose running statistics do not matter."""
    target, found = model.get_submodule(after), list[Tensor]()
    with target.register_forward_hook(lambda _, __, output: found.append(output.clone())):
        first = model(batch.clone())
    changed = (change or intervention())(found[0])
    with target.register_forward_hook(lambda *_: changed):
        return first, model(batch.clone())


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
