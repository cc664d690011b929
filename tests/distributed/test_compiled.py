"""torch.compile makes one graph of a loss across ranks, with the same value and gradients."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, distributed

import dmlkernels as dml
from tests.distributed.evaluate import BY_NAME, PROXIES, Found, gradients_of, part_of
from tests.distributed.test_faults import Arguments, arguments_of, assert_told, provoke, unknown_label, wrong_shape
from tests.distributed.world import Place, World
from tests.losses import Loss
from tests.problem import Problem, make_problem

# Ranks, parts of the batch, layout of the proxies, losses.
SETTINGS = [
    (2, "empty", "replicated", ["fused", "soft_triple", "adaface"]),
    (3, "uneven", "sharded", ["pd", "field", "curricular"]),
    (4, "uneven", "table", ["anchor", "circle"]),
    (3, "uneven", "copies", ["softmax"]),
]


class Compiled:
    """A loss of the table in one graph."""

    def __init__(self, loss: Loss, compiler: str, **options: Any) -> None:
        names = [*loss.inputs, *loss.keywords.values()]
        blank: dict[str, Any] = dict.fromkeys(Problem.__dataclass_fields__)
        self.leaves = loss.leaves

        @torch.compile(fullgraph=True, backend=compiler)
        def call(given: dict[str, Any], **changed: Any) -> Tensor:
            return loss(Problem(**{**blank, **given}), "torch", **options, **changed)

        self._call, self._names = call, names

    def __call__(self, problem: Problem, backend: str = "torch", **changed: Any) -> Tensor:
        found: Tensor = self._call({name: getattr(problem, name) for name in self._names}, **changed)
        return found


def local(tensor: Any) -> Tensor:
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def same(found: Found, expected: Found) -> bool:
    assert found.gradients.keys() == expected.gradients.keys()
    gradients = ((local(found.gradients[leaf]), local(expected.gradients[leaf])) for leaf in expected.gradients)
    return torch.equal(found.loss, expected.loss) and all(torch.equal(one, other) for one, other in gradients)


def compare(place: Place, names: list[str], parts: str, layout: str, compiler: str) -> list[str]:
    """List the losses whose compiled value or gradients differ in a bit."""
    wrong = []
    for name in names:
        torch._dynamo.reset()
        implied = layout == "copies" and any(leaf in BY_NAME[name].inputs for leaf in PROXIES)
        options = {} if implied else {"process_group": place.group}
        expected = gradients_of(BY_NAME[name], part_of(make_problem("plain"), place, parts, layout), "torch", **options)
        call: Any = Compiled(BY_NAME[name], compiler, **options)
        for _ in range(2):
            if not same(gradients_of(call, part_of(make_problem("plain"), place, parts, layout), "torch"), expected):
                wrong.append(name)
    return wrong


@pytest.mark.sampled(2)
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: "-".join(map(str, setting[:3])))
def test_one_graph_has_the_bits_of_many(world: World, setting: tuple[int, str, str, list[str]]) -> None:
    size, parts, layout, names = setting
    assert world.run(size, compare, names, parts, layout, "aot_eager") == [[]] * size


def test_inductor(world: World) -> None:
    assert world.run(2, compare, ["softmax"], "uneven", "sharded", "inductor") == [[]] * 2


def vary(place: Place) -> list[str]:
    """Vary shapes, an option, the group and whether gradients are wanted. Lists what differs from eager."""
    torch._dynamo.reset()
    call = torch.compile(dml.cosface_loss, fullgraph=True, backend="aot_eager")
    alone = distributed.new_group([place.rank], use_local_synchronization=True)
    given, wrong = arguments_of(place, "replicated"), []
    del given["process_group"]
    for rows, scale, group in (
        (6, 20.0, place.group), (5, 21.0, place.group), (0, 22.0, place.group), (6, 23.0, alone), (6, 20.0, place.group)
    ):  # fmt: skip
        rows = rows if place.rank else 6
        leaf = given["embeddings"].detach()[:rows].requires_grad_()
        found = []
        for function in (call, dml.cosface_loss):
            loss = function(leaf, given["labels"][:rows], given["proxies"], scale=scale, process_group=group)
            found += [loss.detach(), *torch.autograd.grad(loss, (leaf, given["proxies"]))]
            with torch.no_grad():
                found.append(function(leaf, given["labels"][:rows], given["proxies"], scale=scale, process_group=group))
        if not all(torch.equal(one, other) for one, other in zip(found[:4], found[4:], strict=True)):
            wrong.append(f"{rows} {scale}")
    return wrong


def test_what_varies_compiles_again(world: World) -> None:
    assert world.run(2, vary) == [[]] * 2


def hold(place: Place) -> list[int]:
    """Count the graphs held after calls with no backward, one and two, and after the loss is gone."""
    from dmlkernels.distributed.call_op import _graphs

    torch._dynamo.reset()
    torch._functorch.config.donated_buffer = False  # otherwise a compiled function has no second backward
    call = torch.compile(dml.pd_loss, fullgraph=True, backend="aot_eager")
    given, held = arguments_of(place, "replicated"), []
    for backwards in (0, 1, 2):
        loss = call(**given)
        held.append(len(_graphs))
        for number in range(backwards):
            loss.backward(retain_graph=number < backwards - 1)
        del loss
        gc.collect()
        held.append(len(_graphs))
    expected = arguments_of(place, "replicated")
    dml.pd_loss(**expected).backward()
    torch.testing.assert_close(given["embeddings"].grad, 3 * expected["embeddings"].grad)
    return held


def test_a_graph_lives_as_long_as_its_loss(world: World) -> None:
    assert world.run(2, hold) == [[1, 0, 1, 0, 1, 0]] * 2


def train_module(place: Place, name: str, sharded: bool) -> list[bool]:
    """Train two steps of a network and its loss under autocast, with and without the compiler."""
    torch._dynamo.reset()
    given, found = arguments_of(place, "replicated"), []
    options = {"device_mesh": place.mesh} if sharded else {"process_group": place.group}
    for compiler in (None, "aot_eager"):
        module = getattr(dml, name)(5, 8, generator=torch.Generator().manual_seed(1), **options)
        network = torch.nn.Linear(8, 8)
        network.load_state_dict({"weight": torch.eye(8), "bias": torch.zeros(8)})

        def step(inputs: Tensor, labels: Tensor, module: Any = module, network: Any = network) -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss: Tensor = module(network(inputs), labels)
            return loss

        call = step if compiler is None else torch.compile(step, fullgraph=True, backend=compiler)
        for _ in range(2):
            loss = call(given["embeddings"].detach().float(), given["labels"])
            loss.backward()
        buffers = [value.clone() for value in module.buffers()]
        found.append([loss.detach(), network.weight.grad, local(module.proxies.grad), *buffers])
    return [torch.equal(one, other) for one, other in zip(*found, strict=True)]


@pytest.mark.parametrize(
    ("name", "sharded", "number"),
    [("ArcFaceLoss", True, 3), ("AdaFaceLoss", False, 5), ("CurricularFaceLoss", True, 4), ("AdaCosLoss", False, 4)],
)
def test_a_network_and_its_loss_train(world: World, name: str, sharded: bool, number: int) -> None:
    """Some losses have running statistics, which a call updates in place."""
    assert world.run(2, train_module, name, sharded) == [[True] * number] * 2


def provoke_compiled(place: Place, layout: str, fault: Callable[[Arguments], None]) -> tuple[str, str, float]:
    torch._dynamo.reset()
    call = torch.compile(dml.normalized_softmax_loss, fullgraph=True, backend="aot_eager")
    call(**arguments_of(place, layout)).backward()
    return provoke(place, layout, call, fault)


@pytest.mark.parametrize(
    ("fault", "message"),
    [(unknown_label, "labels: 77 is the class of no proxy"), (wrong_shape, "labels: got shape")],
    ids=lambda part: getattr(part, "__name__", ""),
)
@pytest.mark.parametrize("layout", ["replicated", "sharded"])
def test_a_fault_on_one_rank(world: World, layout: str, fault: Callable[[Arguments], None], message: str) -> None:
    """One of the faults is met by the compiler on that rank alone."""
    assert_told(world.run(3, provoke_compiled, layout, fault), message)


def sample(place: Place) -> tuple[int, bool]:
    torch._dynamo.reset()
    generator = torch.Generator()

    def call(embeddings: Tensor, labels: Tensor, proxies: Tensor) -> Tensor:
        loss = dml.cosface_loss(
            embeddings + 1, labels, proxies, sample_classes=0.6, sample_generator=generator, process_group=place.group
        )
        return loss * 2

    given = arguments_of(place, "replicated")
    del given["process_group"]
    breaks = torch._dynamo.explain(call)(**given).graph_break_count
    found = [
        function(**given) for function in (torch.compile(call, backend="aot_eager"), call) if generator.manual_seed(4)
    ]
    return breaks, torch.equal(*found)


def test_a_generator_breaks_the_graph_once(world: World) -> None:
    assert world.run(2, sample) == [(1, True)] * 2


def follow_schedule(place: Place) -> list[str]:
    """Epochs in which a compiled CouCE differs from eager, and how many graphs there were."""
    from torch._dynamo.testing import CompileCounterWithBackend

    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    given = arguments_of(place, "replicated")
    embeddings, labels = given["embeddings"].detach(), given["labels"]
    loss = dml.CouCE(dml.PDLoss(5, 8, proxy_init=given["proxies"], process_group=place.group))
    call, wrong = torch.compile(loss, backend=counter), []
    for epoch in (1.0, 2.0, 3.0, 9.0):
        loss.set_epoch(epoch)
        if not torch.equal(call(embeddings, labels, embeddings.flip(0)), loss(embeddings, labels, embeddings.flip(0))):
            wrong.append(f"epoch {epoch}")
    return [*wrong, *["many graphs"] * (counter.frame_count > 2)]


def test_couce_follows_its_schedule_without_another_graph(world: World) -> None:
    assert world.run(2, follow_schedule) == [[]] * 2


def with_a_hook_that_copies(place: Place) -> list[str]:
    """What backward says of a call whose saved tensors were copied, while another call is alive."""
    torch._dynamo.reset()
    module = dml.ArcFaceLoss(7, 8, process_group=place.group)
    call, labels = torch.compile(module, backend="aot_eager", fullgraph=True), torch.arange(6)
    x, other = (torch.randn(6, 8).requires_grad_() for _ in range(2))
    with torch.autograd.graph.saved_tensors_hooks(torch.clone, lambda saved: saved):
        loss = call(x, labels)
    kept = call(other, labels)
    try:
        loss.backward()
    except RuntimeError as error:
        return [str(error)]
    return [f"no error beside {kept.item()}"]


def test_another_calls_graph_is_never_taken(world: World) -> None:
    for (said,) in world.run(2, with_a_hook_that_copies):
        assert said.startswith("a compiled loss across ranks has lost its graph")
