"""Trunks whose outputs may not be handed out again as they are: the views stay those of two whole passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.nn.utils import parametrizations

from dmlkernels.couce.second_view import captured, intervened_forward
from tests.couce.networks import by_hand, intervention, traces


class Mapping(nn.Module):
    """A non-linear map of feature maps, and what ``wrap`` makes of its result."""

    def __init__(self, wrap: Callable[[Tensor], Any] = lambda x: x) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Tanh())
        self.wrap = wrap

    def forward(self, x: Tensor, *, scale: float = 1.0) -> Any:
        return self.wrap(self.inner(x) * scale)


class Network(nn.Module):
    """A trunk that goes its own ways, a neck on which to intervene, and a way around it by which the trunk shows."""

    def __init__(self, trunk: Callable[[Any, Tensor], Tensor], wrap: Callable[[Tensor], Any] = lambda x: x) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.neck, self.head = Mapping(wrap), Mapping(), Mapping(), nn.Conv2d(3, 3, 1)
        self.trunk, self.passes = trunk, 0
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        around = self.trunk(self, x)
        return self.head(self.neck(around) + 2 * around).square().mean((2, 3))


@dataclass
class Box:
    value: Tensor


class Pair(NamedTuple):
    value: Tensor
    other: Tensor


def straight(net: Network, x: Tensor) -> Tensor:
    y = net.a(x)
    return y + net.b(y)


def from_box(net: Network, x: Tensor) -> Tensor:
    box = net.a(x)
    value, box.value = box.value, box.value + 100
    return value + net.b(value)


def from_dict(net: Network, x: Tensor) -> Tensor:
    found = net.a(x)
    found["value"] = (value := found["value"]) + 100
    return value + net.b(value)


def from_list(net: Network, x: Tensor) -> Tensor:
    value = net.a(x).pop()
    return value + net.b(value)


def written(net: Network, x: Tensor) -> Tensor:
    y = net.a(x)
    z = net.b(y + 0)
    y[:, 0].mul_(0.5)
    return y + z


def written_unseen(net: Network, x: Tensor) -> Tensor:
    y = net.a(x).detach()
    z = net.b(y + 0)
    with torch.no_grad():
        y.add_(1)
    return y + z


def input_written(net: Network, x: Tensor) -> Tensor:
    x.mul_(2)
    return x + straight(net, x + 1)


def other_order(net: Network, x: Tensor) -> Tensor:
    return net.b(net.a(x)) if net.passes % 2 else net.a(net.b(x))


def other_arguments(net: Network, x: Tensor) -> Tensor:
    first, second = (net.a(scale * x) for scale in ((1, 3) if net.passes % 2 else (3, 1)))
    return first - 2 * second if net.passes % 2 else second - 2 * first


def other_keywords(net: Network, x: Tensor) -> Tensor:
    return net.a(x, scale=float(net.passes)) + net.b(x)


def other_shapes(net: Network, x: Tensor) -> Tensor:
    size = 2 + net.passes
    return net.b(x) + net.a(x[..., :size, :]).mean((2, 3), keepdim=True)


def other_calls(net: Network, x: Tensor) -> Tensor:
    return net.a(x) + net.b(x) if net.passes % 2 else net.b(x)


def hidden_call(net: Network, x: Tensor) -> Tensor:
    """One submodule calls another that is not registered as its part."""
    net.a.wrap = net.b.forward
    y = net.a(x)
    return y + net.b(y)


def direct_call(net: Network, x: Tensor) -> Tensor:
    y = net.a.forward(x)
    return y + net.b.forward(y)


def gradient_hook(net: Network, x: Tensor) -> Tensor:
    y = net.a(x)
    y.register_hook(lambda gradient: gradient / 3)
    return y + net.b(y)


def caught_error(net: Network, x: Tensor) -> Tensor:
    try:
        y = net.a(x[:, :1])
    except RuntimeError:
        y = net.a(x)
    return y + net.b(y)


TRUNKS: dict[str, Callable[[], Network]] = {
    "straight": lambda: Network(straight),
    "dataclass that is changed": lambda: Network(from_box, Box),
    "dict that is changed": lambda: Network(from_dict, lambda x: {"value": x}),
    "list that is changed": lambda: Network(from_list, lambda x: [x + 1, x]),
    "list in a tuple": lambda: Network(lambda net, x: net.a(x)[0].pop(), lambda x: ([x], None)),
    "tuple": lambda: Network(lambda net, x: net.a(x)[0], lambda x: (x, None)),
    "named tuple": lambda: Network(lambda net, x: net.a(x).value, lambda x: Pair(x, x)),
    "output written into": lambda: Network(written),
    "output written into without a graph": lambda: Network(written_unseen),
    "input written into": lambda: Network(input_written),
    "another order": lambda: Network(other_order),
    "other arguments": lambda: Network(other_arguments),
    "other keywords": lambda: Network(other_keywords),
    "other shapes": lambda: Network(other_shapes),
    "other calls": lambda: Network(other_calls),
    "hidden call": lambda: Network(hidden_call),
    "forward called directly": lambda: Network(direct_call),
    "hook on the gradient": lambda: Network(gradient_hook),
    "caught error": lambda: Network(caught_error),
    "output of another type": lambda: Network(straight, lambda x: nn.Parameter(x.detach())),
}


def replace_forward(net: Network) -> None:
    forward = net.a.forward
    net.a.forward = lambda x: 2 * forward(x)  # type: ignore[method-assign]


HOOKS: dict[str, Callable[[Network], Any]] = {
    "changes the output": lambda net: net.a.register_forward_hook(lambda _, __, y: 2 * y),
    "writes into the output": lambda net: net.a.register_forward_hook(lambda _, __, y: y.mul_(2)),
    "changes the output, always": lambda net: net.a.register_forward_hook(lambda _, __, y: 2 * y, always_call=True),
    "changes the input": lambda net: net.a.register_forward_pre_hook(lambda _, args: (2 * args[0],)),
    "changes keywords": lambda net: net.a.register_forward_pre_hook(
        lambda _, args, __: (args, {"scale": 2.0}), with_kwargs=True
    ),
    "of a part": lambda net: net.a.inner[0].register_forward_hook(lambda _, __, y: 2 * y),
    "of the neck": lambda net: net.neck.register_forward_hook(lambda _, __, y: 2 * y),
    "of the neck, writes": lambda net: net.neck.register_forward_hook(lambda _, __, y: y.mul_(2)),
    "of the neck's input": lambda net: net.neck.register_forward_pre_hook(lambda _, args: (2 * args[0],)),
    "of the whole": lambda net: net.register_forward_hook(lambda _, __, y: 2 * y),
    "on gradients": lambda net: net.a.register_full_backward_hook(lambda _, given, __: (given[0] / 2,)),
    "before gradients": lambda net: net.a.register_full_backward_pre_hook(lambda _, given: (given[0] / 2,)),
    "weight norm": lambda net: parametrizations.weight_norm(net.a.inner[0]),
    "old weight norm": lambda net: nn.utils.weight_norm(net.a.inner[0]),
    "another forward": replace_forward,
}


def pictures() -> Tensor:
    """Written into by some trunks, and with gradients, as hooks on gradients want them."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 3, 6, 6, dtype=torch.float64, generator=generator).requires_grad_().clone()


def check(make: Callable[[], Network], change: Callable[[Tensor], Tensor], in_place: bool = False) -> None:
    """Views and gradients are those of two whole passes, and nothing is left behind."""
    net, twin = make(), make()
    left = traces(net)
    views = intervened_forward(
        net, pictures(), after="neck", intervention=lambda x: x.copy_(change(x).clone()) if in_place else change(x)
    )
    assert traces(net) == left
    expected = by_hand(twin, pictures(), "neck", change)
    assert all(map(torch.allclose, views, expected))
    weights = torch.randn(2, 4, 3, dtype=torch.float64)
    (torch.stack(views) * weights).sum().backward()
    (torch.stack(expected) * weights).sum().backward()
    for parameter, expected_parameter in zip(net.parameters(), twin.parameters(), strict=True):
        given, wanted = parameter.grad, expected_parameter.grad
        assert (given is None) == (wanted is None)
        assert given is None or torch.allclose(given, wanted, rtol=1e-8, atol=1e-10)


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "a view": lambda x: x.transpose(2, 3),
    "Fourier": intervention(),
}


@pytest.mark.filterwarnings("ignore:.*torch.nn.utils.weight_norm:FutureWarning")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("make", TRUNKS.values(), ids=TRUNKS)
def test_trunks(make: Callable[[], Network], change: Callable[[Tensor], Tensor]) -> None:
    check(make, change)


@pytest.mark.filterwarnings("ignore:.*torch.nn.utils.weight_norm:FutureWarning")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("add", HOOKS.values(), ids=HOOKS)
def test_hooks(add: Callable[[Network], Any], change: Callable[[Tensor], Tensor]) -> None:
    def make() -> Network:
        net = Network(straight)
        add(net)
        return net

    check(make, change)


@pytest.mark.filterwarnings("ignore:.*torch.nn.utils.weight_norm:FutureWarning")
@settings(max_examples=40, deadline=None, database=None, derandomize=True)
@given(
    st.sampled_from(sorted(TRUNKS)),
    st.lists(st.sampled_from(sorted(HOOKS)), max_size=3, unique=True),
    st.sampled_from(sorted(CHANGES)),
    st.booleans(),
)
def test_trunks_with_hooks(trunk: str, hooks: list[str], change: str, in_place: bool) -> None:
    def make() -> Network:
        net = TRUNKS[trunk]()
        for hook in hooks:
            HOOKS[hook](net)
        return net

    try:
        torch.stack(by_hand(make(), pictures(), "neck", CHANGES[change])).sum().backward()
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError, UserWarning):
        reject()  # the hook wants a tensor and the trunk gives something else, for example
    check(make, CHANGES[change], in_place)


@contextmanager
def everywhere(register: Callable[[Any], Any], hook: Callable[..., Any]) -> Iterator[None]:
    with register(hook):
        yield


@pytest.mark.parametrize("before", [False, True])
def test_hooks_of_all_modules(before: bool) -> None:
    with ExitStack() as hooks:
        if before:
            hooks.enter_context(everywhere(register_module_forward_pre_hook, lambda _, args: (args[0] * 1.1,)))
        else:
            hooks.enter_context(everywhere(register_module_forward_hook, lambda _, __, y: y * 1.1))
        check(TRUNKS["straight"], intervention())


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_interventions_in_place(change: Callable[[Tensor], Tensor]) -> None:
    check(TRUNKS["straight"], change, in_place=True)
    check(lambda: Network(lambda net, x: net.a(x).relu_()), change, in_place=True)


def test_hooks_see_the_same_in_both_passes() -> None:
    net = Network(straight)
    with captured(net, "a") as trunk, captured(net, "neck") as neck:
        intervened_forward(net, pictures(), after="neck", intervention=intervention())
    assert torch.equal(*trunk) and torch.equal(*neck)
