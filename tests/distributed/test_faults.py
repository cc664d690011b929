"""A fault on one rank is an error on every rank, at once, that names the rank and the argument."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed

import dmlkernels as dml
from tests.distributed.evaluate import placed
from tests.distributed.world import Place, World

Arguments = dict[str, Any]
BAD = 1  # the rank with the fault


def arguments_of(place: Place, layout: str) -> Arguments:
    generator = torch.Generator().manual_seed(place.rank)
    embeddings = torch.randn(6, 8, dtype=torch.float64, generator=generator).requires_grad_()
    proxies = torch.randn(5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(9)).requires_grad_()
    return {
        "embeddings": embeddings,
        "labels": torch.arange(6) % 5,
        "proxies": placed(proxies, place, layout),
        "process_group": place.group,
    }


def unknown_label(given: Arguments) -> None:
    given["labels"][2] = 77


def wrong_shape(given: Arguments) -> None:
    given["labels"] = given["labels"][:4]


def other_dimension(given: Arguments) -> None:
    given["embeddings"] = given["embeddings"].detach()[:, :7].requires_grad_()


def other_dimensions(given: Arguments) -> None:
    other_dimension(given)
    given["proxies"] = given["proxies"].detach()[:, :7].requires_grad_()


def other_dtype(given: Arguments) -> None:
    given["embeddings"] = given["embeddings"].detach().float().requires_grad_()


def bad_option(given: Arguments) -> None:
    given["scale"] = -1.0


def other_option(given: Arguments) -> None:
    given["scale"] = 30.0


def other_reduction(given: Arguments) -> None:
    given["reduction"] = "sum"


def other_classes(given: Arguments) -> None:
    given["proxies"] = torch.cat((given["proxies"].detach(), torch.ones(1, 8))).requires_grad_()


def no_tensor(given: Arguments) -> None:
    given["embeddings"] = [1.0]


def bad_weight(given: Arguments) -> None:
    given["sample_weight"] = torch.ones(3)


def bad_backend(given: Arguments) -> None:
    given["backend"] = "fast"


def bad_keyword(given: Arguments) -> None:
    given["sclae"] = 3.0


def without_gradient(given: Arguments) -> None:
    given["embeddings"] = given["embeddings"].detach()


def other_scale_tensor(given: Arguments) -> None:
    given["scale"] = torch.tensor(30.0, dtype=torch.float64)


def other_weights(given: Arguments) -> None:
    given["class_weights"] = torch.tensor([1.0, 1.0, 2.0, 1.0, 1.0], dtype=torch.float64)


def bad_margin(given: Arguments) -> None:
    given["margin"] = torch.ones(3, 2, dtype=torch.float64)


FAULTS: list[tuple[Callable[[Arguments], None], str]] = [
    (unknown_label, "labels: 77 is the class of no proxy"),
    (wrong_shape, "labels: got shape"),
    (other_dimension, "proxies: got 8 dimensions"),
    (other_dimensions, "embeddings: rank 1 has"),
    (other_dtype, "embeddings: rank 1 has torch.float32"),
    (bad_option, "scale: got -1.0"),
    (other_option, "scale: rank 1 has 30.0, rank 0 has 20.0"),
    (other_reduction, "reduction: rank 1 has 'sum', rank 0 has 'mean'"),
    (other_classes, "proxies: rank 1 has"),
    (no_tensor, "embeddings: got list"),
    (bad_weight, "sample_weight: got shape"),
    (bad_backend, "backend: got 'fast'"),
    (bad_keyword, "sclae"),
    (without_gradient, "embeddings: rank 1 has"),
]
ONLY_PLAIN = (other_dimensions, other_classes)  # a DTensor of another shape cannot be made on one rank


def provoke(
    place: Place, layout: str, name: Any, fault: Callable[[Arguments], None], everywhere: bool = False
) -> tuple[str, str, float]:
    """Return this rank's error. The group must serve another call afterwards."""
    loss = getattr(dml, name) if isinstance(name, str) else name
    given = arguments_of(place, layout)
    if everywhere or place.rank == BAD:
        fault(given)
    start = time.monotonic()
    try:
        loss(**given)
    except Exception as error:
        found = type(error).__name__, str(error), time.monotonic() - start
    else:
        return "none", "", 0.0
    good = arguments_of(place, layout)
    dml.normalized_softmax_loss(**good).backward()
    assert good["embeddings"].grad.isfinite().all()
    return found


def assert_told(found: list[tuple[str, str, float]], message: str) -> None:
    for rank, (kind, text, seconds) in enumerate(found):
        assert kind in ("ValueError", "TypeError", "RuntimeError"), f"rank {rank}: {kind}"
        assert message in text and f"rank {BAD}" in text, f"rank {rank}: {text}"
        assert seconds < 5


@pytest.mark.parametrize(("fault", "message"), FAULTS, ids=lambda part: getattr(part, "__name__", ""))
@pytest.mark.parametrize("layout", ["replicated", "sharded"])
def test_every_rank_is_told(world: World, layout: str, fault: Callable[[Arguments], None], message: str) -> None:
    if layout == "sharded" and fault in ONLY_PLAIN:
        pytest.skip("no such DTensor")
    assert_told(world.run(3, provoke, layout, "normalized_softmax_loss", fault), message)


@pytest.mark.parametrize("layout", ["replicated", "sharded"])
def test_a_margin_that_fits_nothing(world: World, layout: str) -> None:
    assert_told(world.run(2, provoke, layout, "cosface_loss", bad_margin), "margin:")


@pytest.mark.parametrize("layout", ["replicated", "sharded"])
@pytest.mark.parametrize(
    ("option", "value", "fault", "message"),
    [
        ("scale", 20.0, other_scale_tensor, "scale: rank 1 has torch.float64 of shape () and value 30.0, rank 0 has"),
        (
            "class_weights",
            [1.0] * 5,
            other_weights,
            "class_weights: rank 1 has torch.float64 of shape (5,) and checksum",
        ),
    ],
    ids=["one number", "classes"],
)
def test_values_of_tensor_options(
    world: World, layout: str, option: str, value: Any, fault: Callable[[Arguments], None], message: str
) -> None:
    assert_told(world.run(2, provoke_beside, layout, option, value, fault), message)


def provoke_beside(
    place: Place, layout: str, option: str, value: Any, fault: Callable[[Arguments], None]
) -> tuple[str, str, float]:
    """Every rank gives the option as a tensor, one of them another."""

    def both(given: Arguments) -> None:
        given[option] = torch.tensor(value, dtype=torch.float64)
        if place.rank == BAD:
            fault(given)

    return provoke(place, layout, "normalized_softmax_loss", both, everywhere=True)


@pytest.mark.parametrize(
    ("option", "values", "message"),
    [
        ("proxy_labels", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]], "integers of shape (5,) and checksum"),
        ("prior", [[0.2] * 5, [0.2, 0.2, 0.2, 0.1, 0.3]], "torch.float32 of shape (5,) and checksum"),
        ("active", [[True] * 5, [True, True, False, True, True]], "integers of shape (5,) and checksum"),
    ],
)
def test_values_that_every_rank_has_whole(world: World, option: str, values: list[list[Any]], message: str) -> None:
    found = world.run(2, with_values, option, values)
    assert_told(found, f"{option}: rank 1 has {message}")


def with_values(place: Place, option: str, values: list[list[Any]]) -> tuple[str, str, float]:
    """Return this rank's error, with an option whose values are another rank's or this one's."""

    def call(value: Tensor) -> None:
        given = arguments_of(place, "replicated")
        if option == "proxy_labels":
            dml.pd_loss(**given, proxy_labels=value)
        else:
            atoms = given["proxies"].detach()
            dml.odba_penalty(given["embeddings"], atoms, process_group=place.group, **{option: value})

    same = torch.tensor(values[0])
    call(same.int() if option == "proxy_labels" and place.rank == BAD else same)  # of any type of integers
    with pytest.raises(RuntimeError) as caught:
        call(torch.tensor(values[place.rank]))
    return caught.typename, str(caught.value), 0.0


def test_values_for_samples_are_each_rank_s_own(world: World) -> None:
    for loss in world.run(2, with_scales_of_samples):
        assert math.isfinite(loss)


def with_scales_of_samples(place: Place) -> float:
    given = arguments_of(place, "replicated")
    given["scale"] = torch.full((6, 1), 10.0 + place.rank, dtype=torch.float64)
    return float(dml.normalized_softmax_loss(**given))


def differing(place: Place, layout: str, names: list[str]) -> tuple[str, str, float]:
    return provoke(place, layout, names[place.rank], lambda given: None)


@pytest.mark.parametrize("layout", ["replicated", "sharded"])
@pytest.mark.parametrize("other", ["arcface_loss", "pd_loss", "proxy_anchor_loss"])
def test_ranks_with_another_loss(world: World, layout: str, other: str) -> None:
    names = ["normalized_softmax_loss", other]
    assert_told(world.run(2, differing, layout, names), f"rank 1 has {other}, rank 0 has normalized_softmax_loss")


def ignore_all(place: Place, layout: str) -> str:
    given = arguments_of(place, layout)
    given["labels"].fill_(-100)
    with pytest.raises(ValueError, match="labels: the genuine set is empty: all 12 labels of all ranks") as caught:
        dml.pd_loss(**given)
    return str(caught.value)


@pytest.mark.parametrize("layout", ["replicated", "sharded"])
def test_a_batch_that_one_process_would_refuse(world: World, layout: str) -> None:
    first, second = world.run(2, ignore_all, layout)
    assert first == second


def with_nan(place: Place, layout: str) -> list[float]:
    found = []
    for name in ("pd_loss", "normalized_softmax_loss", "proxy_anchor_loss", "arcface_loss"):
        given = arguments_of(place, layout)
        if place.rank == BAD:
            with torch.no_grad():
                given["embeddings"][3, 2] = math.nan
        found.append(float(getattr(dml, name)(**given)))
    return found


@pytest.mark.parametrize("layout", ["replicated", "sharded"])
def test_nan_on_one_rank_is_nan_on_all(world: World, layout: str) -> None:
    for found in world.run(3, with_nan, layout):
        assert all(math.isnan(value) for value in found)


def dying(place: Place) -> str:
    given = arguments_of(place, "replicated")
    if place.rank == BAD:
        os._exit(1)
    with pytest.raises(RuntimeError) as caught:
        dml.pd_loss(**given)
    return str(caught.value)


def wait_in_vain(place: Place) -> tuple[str, float]:
    """Call the loss on all ranks but one; the group waits three seconds."""
    distributed.distributed_c10d._set_pg_timeout(timedelta(seconds=3), place.group)
    if place.rank == BAD:
        time.sleep(5)
        return "", 0.0
    given, start = arguments_of(place, "replicated"), time.monotonic()
    with pytest.raises(RuntimeError) as caught:
        dml.pd_loss(**given)
    return str(caught.value), time.monotonic() - start


@pytest.fixture
def doomed_world(tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path)
    yield found
    found.stop()


def test_a_rank_that_never_comes_ends_in_the_timeout_of_the_group(doomed_world: World) -> None:
    (text, seconds), _ = doomed_world.run(2, wait_in_vain)
    assert "Timed out waiting 3000ms" in text and seconds < 20


def test_a_rank_that_dies_fails_the_others(doomed_world: World) -> None:
    with pytest.raises(AssertionError, match=r"^rank 1: rank 1 died$"):
        doomed_world.run(2, dying)
