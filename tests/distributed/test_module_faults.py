"""What a module refuses on one rank, before its call across ranks, is an error on every rank."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import dmlkernels as dml
from tests.distributed.test_faults import BAD, assert_told
from tests.distributed.world import Place, World

CLASSES, DIM = 5, 8
Call = Callable[[Any, Tensor, Tensor, bool], object]
"""A call of a module with a batch; the last argument: whether this rank has the fault."""


def new_module(place: Place, layout: str) -> dml.PDLoss:
    options: dict[str, Any] = {"device_mesh": place.mesh} if layout == "sharded" else {"process_group": place.group}
    start = torch.randn(CLASSES, DIM, generator=torch.Generator().manual_seed(9))
    return dml.PDLoss(CLASSES, DIM, proxy_init=start, **options)


def batch(place: Place) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(place.rank)
    return torch.randn(6, DIM, generator=generator), torch.arange(6) % CLASSES


def further_without_labels(module: Any, rows: Tensor, labels: Tensor, bad: bool) -> None:
    module(rows, labels, ref_emb=rows.flip(0), ref_labels=None if bad else labels.flip(0))


def further_of_another_size(module: Any, rows: Tensor, labels: Tensor, bad: bool) -> None:
    module(rows, labels, ref_emb=rows[:, : DIM - bad], ref_labels=labels)


def weights_that_it_does_not_take(module: Any, rows: Tensor, labels: Tensor, bad: bool) -> None:
    module(rows, labels, sample_weight=torch.ones(6) if bad else None)


def memory_of_another_size(module: Any, rows: Tensor, labels: Tensor, bad: bool) -> None:
    dml.CrossBatchMemory(module, DIM, 10)(rows[:, : DIM - bad], labels)


def without_class_means(module: Any, rows: Tensor, labels: Tensor, bad: bool) -> None:
    module._awaits_class_means = bad
    module(rows, labels)


def means_without_labels(module: Any, rows: Tensor, labels: Tensor, bad: bool) -> None:
    module.init_proxies_from(rows, None if bad else labels)


def means_of_no_batches(module: Any, rows: Tensor, labels: Tensor, bad: bool) -> None:
    module.init_proxies_from(5 if bad else [(rows, labels)])


def means_of_another_module(module: Any, rows: Tensor, labels: Tensor, bad: bool) -> None:
    other = dml.PDLoss(CLASSES, DIM, proxies_per_class=2, process_group=module._ranks().group)
    (other if bad else module).init_proxies_from(rows, labels)


def in_another_epoch(module: Any, rows: Tensor, labels: Tensor, bad: bool) -> None:
    loss = dml.CouCE(module)
    loss.set_epoch(2 if bad else 1)
    loss(rows, labels, rows.flip(0))


def during_warmup(module: Any, rows: Tensor, labels: Tensor, bad: bool) -> None:
    loss = dml.CouCE(module, warmup_epochs=3)
    loss.set_epoch(1)
    loss(rows, labels, rows.flip(0) if bad else None)


def of_another_weight(module: Any, rows: Tensor, labels: Tensor, bad: bool) -> None:
    dml.CouCE(module, invariance_weight=2 if bad else 1)(rows, labels, rows.flip(0))


def of_another_temperature(module: Any, rows: Tensor, labels: Tensor, bad: bool) -> None:
    dml.CouCE(module, temperature=0.2 if bad else 0.1)(rows, labels, rows.flip(0))


def without_second_view(module: Any, rows: Tensor, labels: Tensor, bad: bool) -> None:
    dml.CouCE(module)(rows, labels, None if bad else rows.flip(0))


def of_another_dictionary(module: Any, rows: Tensor, labels: Tensor, bad: bool) -> None:
    """The group is that of the dictionary alone."""
    dictionary = dml.BackgroundDictionary(2, DIM, process_group=module._ranks().group)
    dml.CouCE(dml.PDLoss(CLASSES, DIM), dictionary=dictionary, odba_weight=0 if bad else 1)(rows, labels)


def without_proxies(module: Any, rows: Tensor, labels: Tensor, bad: bool) -> None:
    dml.CouCE(module, proxies=(lambda: dict(module.named_buffers())["W"]) if bad else None)(rows, labels, rows.flip(0))


FAULTS: list[tuple[Call, str]] = [
    (further_without_labels, "ref_labels: got None"),
    (further_of_another_size, "ref_emb: got 7 dimensions"),
    (weights_that_it_does_not_take, "sample_weight: PDLoss takes none"),
    (memory_of_another_size, "embeddings: got 7 dimensions, expected 8 as in the memory"),
    (without_class_means, "proxy_init='class_mean': call init_proxies_from"),
    (means_without_labels, "labels: got None"),
    (means_of_no_batches, "embeddings: got int"),
    (in_another_epoch, "epoch: rank 1 has 2.0, rank 0 has 1.0"),
    (during_warmup, "intervened: rank 1 has torch.float32 of shape (8,), rank 0 has None"),
    (of_another_weight, "invariance_weight: rank 1 has 2.0, rank 0 has 1.0"),
    (of_another_temperature, "temperature: rank 1 has 0.2, rank 0 has 0.1"),
    (without_second_view, "intervened: rank 1 has None, rank 0 has torch.float32 of shape (8,)"),
    (of_another_dictionary, "odba_weight: rank 1 has 0.0, rank 0 has 1.0"),
    (without_proxies, "rank 1: 'W'"),
    (means_of_another_module, "proxies_per_class: rank 1 has 2, rank 0 has 1"),
]


def provoke(place: Place, layout: str, fault: Call) -> tuple[str, str, float]:
    """Return this rank's error. The group must serve another call afterwards."""
    module, (rows, labels) = new_module(place, layout), batch(place)
    with pytest.raises((ValueError, TypeError, RuntimeError)) as caught:
        fault(module, rows, labels, place.rank == BAD)
    assert new_module(place, layout)(rows, labels).isfinite()
    return caught.typename, str(caught.value), 0.0


@pytest.mark.parametrize(("fault", "message"), FAULTS, ids=lambda part: getattr(part, "__name__", ""))
@pytest.mark.parametrize("layout", ["replicated", "sharded"])
def test_every_rank_is_told(world: World, layout: str, fault: Call, message: str) -> None:
    assert_told(world.run(3, provoke, layout, fault), message)


DICTIONARY_FAULTS: list[tuple[Callable[[Any, Tensor], object], str]] = [
    (lambda dictionary, rows: dictionary.update(rows[:, :7]), "features: got descriptors (6, 7)"),
    (lambda dictionary, rows: dictionary.update("rows"), "features: got str"),
    (lambda dictionary, rows: dictionary.eval().update(rows), "training: rank 1 has False, rank 0 has True"),
    (
        lambda dictionary, rows: dml.BackgroundDictionary(3, DIM, process_group=dictionary.process_group).update(rows),
        "atoms: rank 1 has torch.float32 of shape (3, 8), rank 0 has torch.float32 of shape (4, 8)",
    ),
    (
        lambda dictionary, rows: dictionary.to(torch.float64).update(rows),
        "atoms: rank 1 has torch.float64 of shape (4, 8), rank 0 has torch.float32 of shape (4, 8)",
    ),
]


def provoke_dictionary(place: Place, number: int) -> tuple[str, str, float]:
    dictionary, (rows, _) = dml.BackgroundDictionary(4, DIM, process_group=place.group), batch(place)
    fault, _ = DICTIONARY_FAULTS[number]
    with pytest.raises((ValueError, TypeError, RuntimeError)) as caught:
        fault(dictionary, rows) if place.rank == BAD else dictionary.update(rows)
    assert not dictionary.active.any()
    good = dml.BackgroundDictionary(4, DIM, process_group=place.group)
    good.eval().update(rows)
    good.train().update(rows)
    assert good.active.all()
    return caught.typename, str(caught.value), 0.0


@pytest.mark.parametrize("number", range(len(DICTIONARY_FAULTS)))
def test_every_rank_is_told_of_an_update(world: World, number: int) -> None:
    assert_told(world.run(2, provoke_dictionary, number), DICTIONARY_FAULTS[number][1])


def remember(place: Place, layout: str) -> Tensor:
    """Losses of two batches with a memory, of which the last rank has no row of the second."""
    memory = dml.CrossBatchMemory(new_module(place, layout), DIM, 4)
    rows, labels = batch(place)
    left = 0 if place.rank == place.size - 1 else 6
    return torch.stack([memory(rows[:number], labels[:number]).detach() for number in (6, left)])


@pytest.mark.parametrize("layout", ["replicated", "sharded"])
def test_a_memory_takes_an_empty_part(world: World, layout: str) -> None:
    first, second = world.run(2, remember, layout)
    assert torch.equal(first, second)
    parts = [batch(Place(rank, 1, None, None, None)) for rank in range(2)]
    every_row, memory_of_second = ([tensor[cut] for tensor in parts[1]] for cut in (slice(None), slice(-4, None)))
    module = new_module(Place(0, 1, None, None, None), "replicated")
    # The memory of the first rank has rows of its batch, which count once.
    for loss, others in zip(first, (every_row, memory_of_second), strict=True):
        expected = module(*(torch.cat(tensors) for tensors in zip(parts[0], others, strict=True)))
        torch.testing.assert_close(loss, expected.detach())
