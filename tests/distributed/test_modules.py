"""Modules across ranks: proxies made sharded or sharded later, logits, class means, state dicts, CouCE."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

import dmlkernels as dml
from tests.distributed.world import Place, World

CLASSES, DIM = 5, 8
MODULES = [dml.PDLoss, dml.NormalizedSoftmaxLoss, dml.ArcFaceLoss, dml.ProxyAnchorLoss, dml.ProxyNCALoss]


def samples(rank: int, number: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(100 + rank)
    return torch.randn(number, DIM, dtype=torch.float64, generator=generator), torch.arange(number) % CLASSES


def whole_batch(size: int) -> tuple[Tensor, Tensor]:
    parts = [samples(rank) for rank in range(size)]
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


def new_module(kind: Any = dml.PDLoss, seed: int = 0, **options: Any) -> Any:
    return kind(CLASSES, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(seed), **options)


def meshes(place: Place) -> list[Any]:
    return [place.mesh] if place.table is None else [place.mesh, place.table]


def train_sharded(place: Place, per_class: int) -> list[tuple[Tensor, Tensor]]:
    found = []
    for mesh in meshes(place):
        for kind in MODULES:
            module = dml.shard_proxies(new_module(kind, place.rank, proxies_per_class=per_class), mesh)
            loss = module(*samples(place.rank))
            loss.backward()
            found.append((loss.detach(), module.proxies.grad.full_tensor()))
    return found


@pytest.mark.parametrize(("size", "per_class"), [(3, 1), (2, 3), (4, 1)])
def test_shard_proxies_takes_those_of_the_first_rank(world: World, size: int, per_class: int) -> None:
    ranks = world.run(size, train_sharded, per_class)
    truth = []
    for kind in MODULES:
        module = new_module(kind, 0, proxies_per_class=per_class)
        loss = module(*whole_batch(size))
        loss.backward()
        truth.append((loss.detach(), module.proxies.grad))
    for found in ranks:
        for (loss, gradient), (true_loss, true_gradient) in zip(found, truth * (1 + (size == 4)), strict=True):
            torch.testing.assert_close(loss, true_loss, rtol=1e-10, atol=1e-10)
            torch.testing.assert_close(gradient, true_gradient, rtol=1e-9, atol=1e-11)


def initial(place: Place) -> list[Tensor]:
    found = []
    for mesh in meshes(place):
        module = dml.PDLoss(2500, 3, device_mesh=mesh, generator=torch.Generator().manual_seed(4 + place.rank))
        assert module.proxies.to_local().shape[0] <= -(-2500 // mesh.size(mesh.ndim - 1))
        found.append(module.proxies.full_tensor().detach())
    return found


def test_initial_values_do_not_depend_on_the_ranks(world: World) -> None:
    first = world.run(1, initial)[0][0]
    torch.testing.assert_close(first.norm(dim=1), torch.ones(2500))
    assert first.unique(dim=0).shape == first.shape
    for size in (2, 3, 4):
        for found in world.run(size, initial):
            assert all(torch.equal(values, first) for values in found)


SCORED = [dml.PDLoss, dml.NormalizedSoftmaxLoss]


def logits(place: Place, per_class: int) -> list[tuple[Tensor, Tensor]]:
    """Scores, and the gradient of the proxies from their squares."""
    found = []
    for mesh in meshes(place):
        for kind in SCORED:
            module = dml.shard_proxies(new_module(kind, proxies_per_class=per_class), mesh)
            scores = module.get_logits(samples(place.rank)[0])
            assert type(scores).__name__ == "DTensor" and scores.shape == (6 * place.size, CLASSES)
            scores.to_local().square().sum().backward()
            found.append((scores.full_tensor().detach(), module.proxies.grad.full_tensor()))
    return found


@pytest.mark.parametrize("per_class", [1, 3])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_logits_are_a_dtensor(world: World, size: int, per_class: int) -> None:
    """The proxies of a class may be on several ranks."""
    truth = []
    for kind in SCORED:
        module = new_module(kind, proxies_per_class=per_class)
        scores = module.get_logits(whole_batch(size)[0])
        scores.square().sum().backward()
        truth.append((scores.detach(), module.proxies.grad))
    for found in world.run(size, logits, per_class):
        for (scores, gradient), (true_scores, true_gradient) in zip(found, truth * (1 + (size == 4)), strict=True):
            torch.testing.assert_close(scores, true_scores, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(gradient, true_gradient, rtol=1e-11, atol=1e-11)


def class_means(place: Place, per_class: int, sharded: bool) -> Tensor:
    options = {"device_mesh": place.mesh} if sharded else {"process_group": place.group}
    module = new_module(proxy_init="class_mean", proxies_per_class=per_class, **options)
    embeddings, labels = samples(place.rank)
    cuts = range(place.rank + 1)  # as many batches as the rank's number, and one
    batches = [(embeddings[i :: place.rank + 1], labels[i :: place.rank + 1]) for i in cuts]
    module.init_proxies_from(iter(batches))
    found = module.proxies.detach()
    return found.full_tensor() if sharded else found


@pytest.mark.parametrize("per_class", [1, 3])
@pytest.mark.parametrize("sharded", [False, True])
def test_class_means_of_all_ranks(world: World, sharded: bool, per_class: int) -> None:
    module = new_module()
    module.init_proxies_from(*whole_batch(3))
    means = module.proxies.detach().repeat_interleave(per_class, 0)
    first, *others = world.run(3, class_means, per_class, sharded)
    assert all(torch.equal(first, other) for other in others)
    if per_class == 1:
        torch.testing.assert_close(first, means, rtol=1e-12, atol=1e-12)
    else:
        assert ((first * means).sum(1) > 0.99).all() and not torch.equal(first[0], first[1])


def exchange_state(place: Place, state: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    sharded = new_module(seed=7, device_mesh=place.mesh)
    sharded.load_state_dict(state)
    plain = new_module(seed=8)
    plain.load_state_dict(sharded.state_dict())
    return sharded.proxies.full_tensor().detach(), plain.proxies.detach()


def test_state_dicts_of_one_process_load_and_back(world: World) -> None:
    state = new_module(seed=3).state_dict()
    for found in world.run(3, exchange_state, state):
        assert all(torch.equal(values, state["proxies"]) for values in found)


def forget(place: Place) -> list[str]:
    module = new_module(device_mesh=place.mesh)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(12):
            module(*samples(place.rank)).backward()
        trained = new_module(device_mesh=place.mesh)
        optimizer = torch.optim.SGD(trained.parameters(), lr=0.1)
        for _ in range(12):
            trained(*samples(place.rank)).backward()
            optimizer.step()
    return [str(warning.message) for warning in caught if "proxies have received" in str(warning.message)]


def test_forgotten_shards_warn(world: World) -> None:
    for messages in world.run(2, forget):
        assert len(messages) == 1


def refused(place: Place) -> list[str]:
    found = []
    for call in (
        lambda: dml.shard_proxies(dml.PDLoss(5, 8), "mesh"),
        lambda: dml.shard_proxies(dml.DecidabilityLoss(), place.mesh),
        lambda: dml.SoftTripleLoss(5, 8, centers_per_class=2, device_mesh=place.mesh)(*samples(place.rank)),
        lambda: dml.PDLoss(5, 8, device_mesh=place.mesh).extend_classes(1),
    ):
        with pytest.raises((TypeError, ValueError, RuntimeError)) as caught:
            call()
        found.append(str(caught.value))
    return found


def test_what_cannot_be_sharded(world: World) -> None:
    messages = ("mesh: got str", "no parameter .proxies", "centers:", "sharded")
    for found in world.run(2, refused):
        assert all(message in text for text, message in zip(found, messages, strict=True))


def new_couce(base: Any) -> dml.CouCE:
    generator = torch.Generator().manual_seed(6)
    dictionary = dml.BackgroundDictionary(3, DIM, momentum=0.5, dtype=torch.float64)
    couce = dml.CouCE(base, dictionary=dictionary, detach_proxies=False)
    dictionary.atoms.copy_(torch.randn(3, DIM, dtype=torch.float64, generator=generator))
    dictionary.counts.fill_(1)
    return couce


def couce_across_ranks(place: Place, sharded: bool) -> list[Tensor]:
    base = new_module(process_group=None if sharded else place.group)
    couce = new_couce(base)
    couce.dictionary.process_group = place.group
    if sharded:
        dml.shard_proxies(couce, place.mesh)
    number = place.rank + 2  # uneven parts
    embeddings, labels = samples(place.rank, number)
    embeddings.requires_grad_()
    loss = couce(embeddings, labels, embeddings * 0.5 + 0.3 * samples(place.rank + 10, number)[0])
    loss.backward()
    couce.dictionary.update(embeddings.detach())
    gradient: Any = base.proxies.grad
    return [
        loss.detach(), embeddings.grad / place.size, gradient.full_tensor() if sharded else gradient,
        couce.dictionary.atoms,
    ]  # fmt: skip


@pytest.mark.parametrize("sharded", [False, True])
def test_couce_across_ranks(world: World, sharded: bool) -> None:
    couce = new_couce(new_module())
    parts = [(samples(rank, rank + 2), samples(rank + 10, rank + 2)[0]) for rank in range(3)]
    embeddings = torch.cat([x for (x, _), _ in parts]).requires_grad_()
    views = embeddings * 0.5 + 0.3 * torch.cat([view for _, view in parts])
    loss = couce(embeddings, torch.cat([y for (_, y), _ in parts]), views)
    loss.backward()
    couce.dictionary.update(embeddings.detach())
    found = world.run(3, couce_across_ranks, sharded)
    gradients = torch.stack([proxies for _, _, proxies, _ in found]).mean(0)
    torch.testing.assert_close(gradients, couce.base_loss.proxies.grad, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(torch.cat([rows for _, rows, _, _ in found]), embeddings.grad, rtol=1e-9, atol=1e-11)
    for value, _, _, atoms in found:
        torch.testing.assert_close(value, loss.detach(), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(atoms, couce.dictionary.atoms, rtol=1e-10, atol=1e-10)


RUNNING = [dml.AdaFaceLoss, dml.CurricularFaceLoss, dml.AdaCosLoss]


def three_steps(module: Any, embeddings: Tensor, labels: Tensor) -> list[Tensor]:
    """Losses and running values over three batches of different norms."""
    found = []
    for factor in (1.0, 8.0, 30.0):
        found.append(module(factor * embeddings, labels).detach())
        found += [value.clone() for value in module.buffers()]
    return found


def running_state(place: Place) -> list[list[Tensor]]:
    embeddings, labels = samples(place.rank, place.rank + 2)  # uneven parts
    labels[0] = -100 if place.rank else labels[0]
    found = []
    for kind in RUNNING:
        found.append(three_steps(new_module(kind, process_group=place.group), embeddings, labels))
        found += [three_steps(dml.shard_proxies(new_module(kind), mesh), embeddings, labels) for mesh in meshes(place)]
    return found


@pytest.mark.parametrize("size", [2, 3, 4])
def test_running_state_is_that_of_the_whole_batch(world: World, size: int) -> None:
    parts = [samples(rank, rank + 2) for rank in range(size)]
    for _, labels in parts[1:]:
        labels[0] = -100
    batch = torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])
    truth = [three_steps(new_module(kind), *batch) for kind in RUNNING for _ in range(2 + (size == 4))]
    for found in world.run(size, running_state):
        for values, expected in zip(found, truth, strict=True):
            for value, right in zip(values, expected, strict=True):
                torch.testing.assert_close(value, right, rtol=1e-10, atol=1e-10)


def compiled_running_state(place: Place) -> list[list[Tensor]]:
    found = []
    for kind in RUNNING:
        module, twin = (new_module(kind, process_group=place.group).float() for _ in range(2))
        compiled = torch.compile(twin, backend="aot_eager", fullgraph=True)
        embeddings, labels = samples(place.rank)
        found.append(three_steps(module, embeddings.float(), labels))
        found.append(three_steps(compiled, embeddings.float(), labels))
    torch._dynamo.reset()
    return found


def test_compiled_calls_update_the_running_state(world: World) -> None:
    for found in world.run(2, compiled_running_state):
        for eager, compiled in zip(found[::2], found[1::2], strict=True):
            torch.testing.assert_close(compiled, eager)


def one_class(place: Place) -> float:
    module = dml.CurricularFaceLoss(1, DIM, dtype=torch.float64, device_mesh=place.mesh)
    loss = module(samples(place.rank)[0], torch.zeros(6, dtype=torch.int64))
    loss.backward()
    return float(loss.detach())


def test_all_proxies_on_one_rank_and_none_on_another(world: World) -> None:
    """Every rank enters the same collectives."""
    first, second = world.run(2, one_class)
    assert first == second
