"""Threads that share a backbone."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dmlkernels.couce.second_view import captured, intervened_forward
from tests.couce.networks import by_hand, images, intervention, network, traces


def together(*works: Callable[[], None]) -> None:
    """Runs all at once, and raises what one of them raises."""
    errors: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def batch(seed: int) -> Tensor:
    return torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("reuse_trunk", [True, False])
def test_second_views_in_several_threads(reuse_trunk: bool) -> None:
    model = network().eval()
    left, start = traces(model), threading.Barrier(4)
    part = nn.Sequential(model.stem, model.norm, nn.Flatten())  # another backbone with the same submodules

    def view(backbone: nn.Module, after: str, seed: int) -> Callable[[], None]:
        expected = by_hand(backbone, batch(seed), after)

        def work() -> None:
            start.wait()
            for _ in range(5):
                views = intervened_forward(
                    backbone, batch(seed), after=after, intervention=intervention(), reuse_trunk=reuse_trunk
                )
                assert all(map(torch.allclose, views, expected))

        return work

    together(view(model, "stages.1", 1), view(model, "stages.1", 2), view(model, "stages.0", 3), view(part, "0", 4))
    assert traces(model) == left


@pytest.mark.parametrize("during", ["first pass", "intervention", "second pass"])
def test_a_plain_pass_in_another_thread(during: str) -> None:
    model = network().eval()
    expected, views = model(batch(2)), by_hand(model, batch(1), "stages.1")
    passes: list[None] = []

    def meanwhile() -> None:
        thread = threading.Thread(target=lambda: found.append(model(batch(2))))
        thread.start()
        thread.join()

    def hook(*_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            passes.append(None)
            if len(passes) == {"first pass": 1, "second pass": 2}.get(during):
                meanwhile()

    def intervene(features: Tensor) -> Tensor:
        if during == "intervention":
            meanwhile()
        return intervention()(features)

    found: list[Tensor] = []
    with model.norm.register_forward_hook(hook), captured(model, "stages.1") as maps:
        given = intervened_forward(model, batch(1), after="stages.1", intervention=intervene)
    assert torch.equal(found[0], expected)
    assert all(map(torch.allclose, given, views))
    assert len(maps) == 2 and torch.equal(*maps)


def test_replicas_that_share_their_hooks() -> None:
    """As DataParallel makes them for its threads."""
    model = network().eval()

    def replica_of(module: nn.Module) -> nn.Module:
        replica = copy.copy(module)
        vars(replica)["_modules"] = {name: replica_of(child) for name, child in module.named_children()}
        return replica

    replicas = [replica_of(model) for _ in range(2)]
    assert replicas[0].norm._forward_hooks is replicas[1].norm._forward_hooks
    start = threading.Barrier(2)

    def view(replica: nn.Module, seed: int) -> Callable[[], None]:
        expected = by_hand(model, batch(seed), "norm")

        def work() -> None:
            start.wait()
            for _ in range(5):
                views = intervened_forward(replica, batch(seed), after="norm", intervention=intervention())
                assert all(map(torch.allclose, views, expected))

        return work

    together(*(view(replica, seed) for seed, replica in enumerate(replicas)))


def test_a_submodule_that_runs_in_another_thread_is_reported() -> None:
    class Elsewhere(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.Conv2d(3, 3, 1).double()

        def forward(self, x: Tensor) -> Tensor:
            results: list[Tensor] = []
            together(lambda: results.append(self.part(x)))
            return results[0]

    with pytest.raises(RuntimeError, match=r"^after: 'part' ran 0 times, expected once in the calling thread"):
        intervened_forward(Elsewhere(), images(), after="part", intervention=intervention())
