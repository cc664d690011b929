"""Losses whose pairs are divided among ranks: each pair once, bounded memory and traffic, no hang."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations, product
from typing import Any

import pytest
import torch
from torch import Tensor

import dmlkernels as dml
from benchmarks.harness.traffic import Traffic
from dmlkernels.distributed import pairwise
from dmlkernels.distributed.pair_blocks import PairBlock
from tests.distributed.evaluate import part_sizes, placed
from tests.distributed.world import Place, World

Given = dict[str, Any]
WIDE: Given = {"delta_att": 0.6, "delta_rep": 1.1}
LOSSES: dict[str, Given] = {
    "decidability_loss": {},
    "potential_field_loss": WIDE,
    "fused_objective": {"field_weight": 0.5, **WIDE},
}


def whole(rows: int = 20, columns: int = 10, dim: int = 6, dtype: torch.dtype = torch.float64) -> Given:
    generator = torch.Generator().manual_seed(0)
    return {
        "embeddings": torch.randn(rows, dim, generator=generator, dtype=torch.float64).to(dtype).requires_grad_(),
        "labels": torch.arange(rows) % 5,
        "proxies": torch.randn(columns, dim, generator=generator, dtype=torch.float64).to(dtype).requires_grad_(),
        "proxy_labels": torch.arange(columns) % 5,
    }


def part(place: Place, given: Given, layout: str, parts: str = "even") -> Given:
    sizes = part_sizes(given["labels"].shape[0], place.size, parts)
    mine = slice(sum(sizes[: place.rank]), sum(sizes[: place.rank + 1]))
    embeddings = given["embeddings"]
    return {
        "embeddings": embeddings.detach()[mine].clone().requires_grad_(embeddings.requires_grad),
        "labels": given["labels"][mine],
        "proxies": placed(given["proxies"], place, layout),
        "proxy_labels": placed(given["proxy_labels"], place, layout),
    }


def call(name: str, given: Given, **options: Any) -> Tensor:
    given = given if name != "decidability_loss" else {key: given[key] for key in ("embeddings", "labels")}
    found = getattr(dml, name)(**given, **LOSSES[name], **options)
    return found[0] if isinstance(found, tuple) else found


def whose(tensor: Tensor | None) -> list[float]:
    """Identify points by their first value, which is unique."""
    return [] if tensor is None else [round(number, 12) for number in tensor[:, 0].tolist()]


def meet(place: Place, name: str, layout: str) -> tuple[Counter[frozenset[float]], Counter[frozenset[float]]]:
    """Record the pairs that this rank computes, forward and backward."""
    found: tuple[Counter[frozenset[float]], Counter[frozenset[float]]] = (Counter(), Counter())

    class Noted(PairBlock):
        def forward(self) -> Any:
            found[0].update(self._pairs())
            return super().forward()

        def backward(self, *args: Any) -> Any:
            found[1].update(self._pairs())
            return super().backward(*args)

        def _pairs(self) -> Any:
            rows = whose(self.rows.vectors)
            if self.columns is None:
                return map(frozenset, combinations(rows, 2))
            return map(frozenset, product(rows, whose(self.columns.vectors)))

    given = part(place, whole(), layout, "uneven")
    before, pairwise.PairBlock = pairwise.PairBlock, Noted  # type: ignore[misc]
    try:
        call(name, given, process_group=place.group).backward()
    finally:
        pairwise.PairBlock = before  # type: ignore[misc]
    return found


@pytest.mark.parametrize("layout", ["replicated", "sharded", "table"])
@pytest.mark.parametrize("name", LOSSES)
def test_each_pair_is_computed_on_one_rank(world: World, name: str, layout: str) -> None:
    given = whole()
    points = whose(given["embeddings"])
    if name != "decidability_loss":
        points += whose(given["proxies"])
    expected = Counter(map(frozenset, combinations(points, 2)))
    ranks = world.run(4, meet, name, layout)
    for direction in (0, 1):
        assert sum((found[direction] for found in ranks), Counter()) == expected


def send(place: Place, name: str, layout: str, rows: int, columns: int, dim: int) -> list[int]:
    """Count the bytes that this rank sends, forward and backward: in messages between two ranks, and in all else."""
    given = part(place, whole(rows, columns, dim), layout)
    with Traffic() as traffic:
        call(name, given, process_group=place.group).backward()
    messages = traffic.bytes_of("send")
    return [messages, traffic.bytes_of() - messages]


def expected_messages(ranks: int, points: int, dim: int) -> int:
    """Bytes of blocks forward, of blocks and gradients backward, and of gradients sent home. float64, even parts."""
    steps = ranks // 2
    block = points // ranks * 8
    return steps * block * (dim + 1) * 2 + (steps * block * dim if steps else 0)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("name", LOSSES)
def test_what_travels(world: World, name: str, size: int) -> None:
    shapes = [(24, 12, 4), (48, 12, 4), (24, 36, 4), (24, 12, 8)]
    for layout in ("replicated", "sharded"):
        sharded = layout == "sharded" and name != "decidability_loss"
        rest = set()
        for rows, columns, dim in shapes:
            for messages, other in world.run(size, send, name, layout, rows, columns, dim):
                travelling = rows + columns if sharded else rows
                assert messages == expected_messages(size, travelling, dim), (layout, rows, columns, dim)
                labels = rows // size * 8 + rows * 8 if sharded else 0  # gathered, and whether a proxy has them
                rest.add(other - labels)
        assert len(rest) == 1 and max(rest) < 200, rest  # agreement and sums: nothing of B, C or D


def differ(place: Place, name: str, layout: str) -> dict[str, Tensor | None]:
    """Compute gradients with some inputs frozen, with an upstream gradient, and in a second backward."""
    found: dict[str, Tensor | None] = {}
    for frozen in ("embeddings", "proxies"):
        given = whole()
        given[frozen].requires_grad_(False)
        given = part(place, given, layout)
        if name == "decidability_loss" and frozen == "embeddings":
            continue
        call(name, given, process_group=place.group).backward()
        assert given[frozen].grad is None
        other = "proxies" if frozen == "embeddings" else "embeddings"
        found[f"{frozen} frozen"] = _full(given[other].grad)
    given = part(place, whole(), layout)
    loss = call(name, given, process_group=place.group)
    loss.backward(retain_graph=True)
    found["embeddings"], found["proxies"] = given["embeddings"].grad.clone(), _full(given["proxies"].grad)
    given["embeddings"].grad = given["proxies"].grad = None
    (3 * loss).backward()
    found["three times"], found["of proxies"] = given["embeddings"].grad, _full(given["proxies"].grad)
    (once,) = torch.autograd.grad(call(name, given, process_group=place.group), given["embeddings"], create_graph=True)
    with pytest.raises(RuntimeError, match="have first derivatives only"):
        once.sum().backward()
    with torch.no_grad():
        again = call(name, given, process_group=place.group)
    assert not again.requires_grad and torch.equal(again, loss)
    return found


def _full(gradient: Any) -> Tensor | None:
    return gradient if gradient is None or type(gradient) is Tensor else gradient.full_tensor()


@pytest.mark.parametrize("layout", ["replicated", "table"])
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_as_they_are_wanted(world: World, name: str, layout: str) -> None:
    for found in world.run(4, differ, name, layout):
        assert torch.equal(found["proxies frozen"], found["embeddings"])
        torch.testing.assert_close(found["three times"], 3 * found["embeddings"], rtol=1e-12, atol=1e-14)
        if name != "decidability_loss":
            assert torch.equal(found["embeddings frozen"], found["proxies"])
            torch.testing.assert_close(found["of proxies"], 3 * found["proxies"], rtol=1e-12, atol=1e-14)


def in_dtype(place: Place, name: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    given = part(place, whole(dtype=dtype), "sharded", "uneven")
    given["proxies"] = placed(whole(dtype=torch.float32)["proxies"], place, "sharded")
    loss = call(name, given, process_group=place.group)
    loss.backward()
    return loss.detach(), given["embeddings"].grad, _full(given["proxies"].grad) if name[0] != "d" else torch.zeros(())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("name", LOSSES)
def test_other_dtypes(world: World, name: str, dtype: torch.dtype, tolerance: float) -> None:
    ranks = world.run(4, in_dtype, name, dtype)
    given = whole(dtype=dtype)
    given["proxies"] = whole(dtype=torch.float32)["proxies"]
    truth = call(name, given)
    truth.backward()
    for loss, of_rows, _ in ranks:
        assert loss.dtype == torch.float32 and of_rows.dtype == dtype
        torch.testing.assert_close(loss, truth.detach(), rtol=tolerance, atol=tolerance)
    gradients = {"embeddings": torch.cat([found[1] for found in ranks]) / 4}
    if name != "decidability_loss":
        gradients["proxies"] = ranks[0][2]
    for leaf, gradient in gradients.items():
        expected = given[leaf].grad.float()
        assert (gradient.float() - expected).abs().max() <= tolerance * expected.abs().max()


def break_one(place: Place, name: str, fault: str, layout: str) -> str:
    """Return this rank's error, or the loss; a valid call follows."""
    given, options = whole(), {}
    if fault == "no pairs":
        given["labels"] = torch.arange(20) % 1
    if fault == "all ignored":
        given["labels"] = torch.full((20,), -100)
    given = part(place, given, layout)
    if place.rank == 1:
        if fault == "label":
            given["labels"] = given["labels"].clone().fill_(77)
        if fault == "option":
            options["eps" if name == "decidability_loss" else "delta_att"] = 0.5
        if fault == "NaN":
            with torch.no_grad():
                given["embeddings"][0, 0] = math.nan
    if name != "decidability_loss":
        options = {**LOSSES[name], **options}
    try:
        if name == "decidability_loss":
            del given["proxies"], given["proxy_labels"]
        found = getattr(dml, name)(**given, **options, process_group=place.group)
        text = str(float(found[0] if isinstance(found, tuple) else found))
    except (ValueError, RuntimeError) as error:
        text = str(error)
    call(name, part(place, whole(), layout), process_group=place.group).backward()
    return text


@pytest.mark.parametrize(
    ("name", "fault", "message"),
    [
        ("potential_field_loss", "label", "rank 1: labels: 77 is the class of no proxy"),
        ("fused_objective", "label", "rank 1: labels: 77 is the class of no proxy"),
        ("potential_field_loss", "option", "delta_att: rank 1 has 0.5, rank 0 has 0.6"),
        ("decidability_loss", "option", "eps: rank 1 has 0.5"),
        ("decidability_loss", "no pairs", "labels: the impostor set is empty: all 20 samples are of one class"),
        ("decidability_loss", "all ignored", "labels: every row is ignored"),
        ("fused_objective", "all ignored", "labels: the genuine set is empty"),
        ("decidability_loss", "NaN", "nan"),
        ("potential_field_loss", "NaN", "nan"),
        ("fused_objective", "NaN", "nan"),
    ],
)
def test_a_fault_reaches_every_rank(world: World, name: str, fault: str, message: str) -> None:
    for text in world.run(3, break_one, name, fault, "replicated"):
        assert message in text


def new_module(name: str, **options: Any) -> Any:
    kind: Any = getattr(dml, name)
    if name == "DecidabilityLoss":
        return kind(**options)
    own: Given = {"proxies_per_class": 2} if name == "PotentialFieldLoss" else {"field_weight": 0.5}
    return kind(
        5, 6, proxy_init=whole(10 if own.get("proxies_per_class") else 5)["embeddings"], **own, **WIDE, **options
    )


def with_module(place: Place, name: str, layout: str) -> tuple[Tensor, Tensor, Tensor | None]:
    given = part(place, whole(), "replicated", "uneven")
    shards = name != "DecidabilityLoss" and layout != "replicated"
    options = (
        {"device_mesh": place.table if layout == "table" else place.mesh} if shards else {"process_group": place.group}
    )
    module = new_module(name, **options)
    loss = module(given["embeddings"], given["labels"])
    loss.backward()
    return loss.detach(), given["embeddings"].grad, _full(getattr(module, "proxies", torch.zeros(())).grad)


@pytest.mark.parametrize("layout", ["replicated", "sharded", "table"])
@pytest.mark.parametrize("name", ["DecidabilityLoss", "PotentialFieldLoss", "FusedObjective"])
def test_modules(world: World, name: str, layout: str) -> None:
    ranks = world.run(4, with_module, name, layout)
    given, module = whole(), new_module(name)
    truth = module(given["embeddings"], given["labels"])
    truth.backward()
    for loss, _, _ in ranks:
        assert torch.equal(loss, ranks[0][0])
        torch.testing.assert_close(loss, truth.detach(), rtol=1e-12, atol=1e-12)
    rows = torch.cat([found[1] for found in ranks]) / 4
    torch.testing.assert_close(rows, given["embeddings"].grad, rtol=1e-9, atol=1e-11)
    if name != "DecidabilityLoss":
        mean = sum((found[2] for found in ranks), torch.zeros(())) / 4
        torch.testing.assert_close(mean, module.proxies.grad, rtol=1e-9, atol=1e-11)
