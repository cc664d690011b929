"""The background dictionary: descriptors, updates, re-seeding, penalty, state."""

from __future__ import annotations

import copy
import functools
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from dmlkernels.couce.descriptors import background_descriptors, variance_gate
from dmlkernels.couce.dictionary import BackgroundDictionary

BASIS = torch.eye(8, dtype=torch.float64)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dictionary(num_atoms: int = 3, embedding_size: int = 8, **options: Any) -> BackgroundDictionary:
    return BackgroundDictionary(num_atoms, embedding_size, **{"dtype": torch.float64, **options})


def near(directions: Tensor, copies: int, noise: float = 0.01, seed: int = 0) -> Tensor:
    rows = directions.repeat(copies, 1)
    return rows + noise * torch.randn(rows.shape, dtype=rows.dtype, generator=seeded(seed))


def is_starved(module: BackgroundDictionary, atom: int) -> bool:
    """The next update will re-seed the atom."""
    return bool(module.counts[atom] <= module.starved_share * module.counts.mean())


# The gate and the descriptors


def test_gate_by_hand() -> None:
    features = torch.randn(2, 5, 3, 4, dtype=torch.float64, generator=seeded())
    gate = variance_gate(features)
    for sample, result in zip(features, gate, strict=True):
        flat = sample.reshape(5, 12)
        variance = ((flat - flat.mean(0)) ** 2).mean(0)
        middle = variance.mean()
        spread = ((variance - middle) ** 2).mean().sqrt()
        expected = 1 / (1 + torch.exp(-(middle - variance) / (0.5 * spread + 1e-6)))
        assert torch.allclose(result.flatten(), expected)


def test_gate_is_high_where_channels_hardly_vary() -> None:
    features = torch.zeros(1, 4, 2, 2)
    features[0, :, 0, 0] = torch.tensor([3.0, -3.0, 3.0, -3.0])
    gate = variance_gate(features)[0]
    assert gate[0, 0] < 0.05 and (gate.flatten()[1:] > 0.7).all()


def test_gate_of_a_single_position_and_of_a_constant_map_is_a_half() -> None:
    assert torch.equal(variance_gate(torch.randn(2, 4, 1, 1)), torch.full((2, 1, 1), 0.5))
    assert torch.equal(variance_gate(torch.ones(2, 4, 3, 3)), torch.full((2, 3, 3), 0.5))


def test_descriptor_is_the_gated_mean_through_the_head() -> None:
    features = torch.randn(2, 5, 3, 4, dtype=torch.float64, generator=seeded(), requires_grad=True)
    head = nn.Linear(5, 8).double()
    gate = variance_gate(features)
    pooled = torch.stack([(f * g).sum((1, 2)) / g.sum() for f, g in zip(features, gate, strict=True)])
    descriptors = background_descriptors(features, head)
    assert torch.allclose(descriptors, normalize(head(pooled)))
    assert torch.allclose(background_descriptors(features), normalize(pooled))
    assert not descriptors.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_descriptors_of_any_dtype(dtype: torch.dtype) -> None:
    features = torch.randn(3, 5, 4, 4, dtype=torch.float64, generator=seeded()).to(dtype)
    head = nn.Linear(5, 8).to(dtype)
    descriptors = background_descriptors(features, head)
    assert descriptors.dtype == torch.promote_types(dtype, torch.float32)
    expected = background_descriptors(features.double(), copy.deepcopy(head).double()).to(descriptors.dtype)
    assert torch.allclose(descriptors, expected, atol=2 * torch.finfo(dtype).eps)


@pytest.mark.parametrize(
    ("features", "error"),
    [
        (torch.zeros(2, 3, 4), ValueError),
        (torch.zeros(2, 0, 4, 4), ValueError),
        (torch.zeros(2, 3, 0, 4), ValueError),
        (torch.zeros(2, 3, 4, 4, dtype=torch.int64), TypeError),
        ("map", TypeError),
    ],
)
def test_bad_feature_maps(features: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^feature_map: got .* expected"):
        variance_gate(features)


# Updates


def test_first_batch_seeds_the_atoms_in_its_order() -> None:
    module = dictionary()
    module.update(5 * BASIS[:3])
    assert torch.equal(module.atoms, BASIS[:3])
    assert torch.equal(module.counts, torch.ones(3, dtype=torch.float64))
    assert torch.equal(module.sums, BASIS[:3])


def test_atoms_never_written_are_inactive_until_a_batch_reaches_them() -> None:
    module = dictionary(4)
    assert not module.active.any() and torch.equal(module.prior, torch.zeros(4, dtype=torch.float64))
    module.update(BASIS[:2])
    assert module.active.tolist() == [True, True, False, False]
    assert torch.equal(module.atoms[2:], torch.zeros(2, 8, dtype=torch.float64))
    module.update(BASIS[2:3])
    assert module.active.tolist() == [True, True, True, False]
    assert torch.equal(module.atoms[2], BASIS[2])


def test_a_descriptor_goes_to_the_most_similar_atom_and_counts_and_sums_decay_and_add() -> None:
    module = dictionary(momentum=0.9)
    module.update(BASIS[:3])
    batch = normalize(near(BASIS[:2], 2, noise=0.1))
    module.update(7 * batch)
    sums = 0.9 * BASIS[:3]
    sums[0] += batch[0] + batch[2]
    sums[1] += batch[1] + batch[3]
    assert torch.allclose(module.counts, torch.tensor([2.9, 2.9, 0.9], dtype=torch.float64))
    assert torch.allclose(module.sums, sums)
    assert torch.allclose(module.atoms, normalize(sums))
    assert torch.allclose(module.prior, module.counts / 6.7)


@pytest.mark.parametrize("momentum", [0.5, 0.9, 0.99])
def test_the_average_converges_at_its_rate(momentum: float) -> None:
    module = dictionary(2, momentum=momentum, starved_share=0.0)
    module.update(BASIS[:2])
    target = normalize(BASIS[0] + 0.5 * BASIS[2], dim=0)
    limit = torch.stack((target, torch.zeros_like(target))) / (1 - momentum)
    distance = (module.sums - limit).norm(dim=1)
    for _ in range(20):
        module.update(target[None])
        closer = (module.sums - limit).norm(dim=1)
        assert torch.allclose(closer, momentum * distance, rtol=1e-9, atol=1e-12)
        distance = closer
    assert torch.allclose(module.counts[0], (1 - momentum**21) / torch.tensor(1 - momentum, dtype=torch.float64))


def test_atoms_settle_on_the_directions_of_the_data_and_the_prior_on_their_frequencies() -> None:
    module = dictionary(2, momentum=0.9)
    frequent = torch.cat((BASIS[:1], BASIS[:1], BASIS[:1], BASIS[1:2]))
    module.update(BASIS[:2])
    for step in range(60):
        module.update(near(frequent, 4, noise=0.05, seed=step))
    assert (module.atoms @ BASIS[:2].T).diagonal().min() > 0.995
    assert torch.allclose(module.prior, torch.tensor([0.75, 0.25], dtype=torch.float64), atol=0.01)


def test_a_starved_atom_becomes_the_worst_explained_descriptor() -> None:
    module = dictionary(3, momentum=0.5)
    module.update(BASIS[:3])
    busy = near(BASIS[:2], 8)
    while not is_starved(module, 2):
        module.update(busy)
        assert torch.allclose(module.atoms[2], BASIS[2])
    assert module.counts[2] == 0.5**4
    batch = torch.cat((busy, normalize(BASIS[0] + BASIS[5], dim=0)[None], BASIS[4:5]))
    limit = 0.01 * 0.5 * module.counts.sum() / 3
    module.update(batch)
    assert torch.allclose(module.atoms[2], BASIS[4])
    assert torch.allclose(module.counts[2], 1 + torch.e * limit)


@pytest.mark.parametrize("momentum", [0.8, 0.9])
def test_a_reseeded_atom_gets_a_time_constant_to_prove_itself(momentum: float) -> None:
    module = dictionary(2, momentum=momentum, starved_share=0.3)
    busy = BASIS[:1].repeat(200, 1)
    module.update(BASIS[:2])
    for _ in range(80):
        module.update(busy)
    while not is_starved(module, 1):
        module.update(busy)
    module.update(torch.cat((busy, BASIS[3:4])))
    assert torch.allclose(module.atoms[1], BASIS[3])
    survived = 0
    while not is_starved(module, 1):
        module.update(busy)
        assert torch.allclose(module.atoms[1], BASIS[3])
        survived += 1
    assert survived == pytest.approx(1 / (1 - momentum), abs=2)


def test_duplicate_seeds_of_the_first_batch_stay_inactive() -> None:
    module = dictionary(3)
    module.update(BASIS[:1].repeat(5, 1))
    assert module.active.tolist() == [True, False, False]
    assert module.counts[0] == 5


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 0.0])
def test_broken_descriptors_are_left_out(bad: float) -> None:
    batch = torch.cat((torch.full((2, 8), bad, dtype=torch.float64), BASIS[:3], torch.full((9, 8), bad).double()))
    clean, dirty = dictionary(4), dictionary(4)
    for _ in range(3):
        clean.update(BASIS[:3])
        dirty.update(batch)
    assert torch.equal(clean.atoms, dirty.atoms) and torch.equal(clean.counts, dirty.counts)
    empty = dictionary(4)
    empty.update(batch[:2])
    empty.update(BASIS[:0])
    assert not empty.active.any() and empty.atoms.isfinite().all()


def test_updates_only_in_training_mode() -> None:
    module = dictionary().eval()
    module.update(BASIS[:3])
    assert not module.active.any()
    module.train().update(BASIS[:3])
    assert module.active.all()


def test_update_from_feature_maps_leaves_graph_and_head_alone() -> None:
    features = torch.randn(6, 5, 4, 4, generator=seeded(), requires_grad=True)
    head = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8))
    before = copy.deepcopy(head.state_dict())
    module = BackgroundDictionary(3, 8)
    module.update(features, head)
    assert module.active.all()
    assert not any(buffer.requires_grad for buffer in module.buffers())
    assert features.grad is None and all(parameter.grad is None for parameter in head.parameters())
    assert all(torch.equal(before[name], value) for name, value in head.state_dict().items())
    assert head[1].track_running_stats
    expected = BackgroundDictionary(3, 8)
    expected.update(background_descriptors(features, head))
    assert torch.allclose(module.atoms, expected.atoms)


class _Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(5, 8), nn.BatchNorm1d(8)

    def embed(self, pooled: Tensor) -> Tensor:
        found: Tensor = self.norm(self.linear(pooled))
        return found


@pytest.mark.parametrize("given", ["bound method", "lambda", "partial", "sequence"])
def test_update_leaves_batch_norm_alone_however_the_head_is_given(given: str) -> None:
    model = _Model()
    heads: dict[str, Callable[[Tensor], Tensor]] = {
        "bound method": model.embed,
        "lambda": lambda pooled: model.norm(model.linear(pooled)),
        "partial": functools.partial(_Model.embed, model),
        "sequence": nn.Sequential(model.linear, model.norm),
    }
    before = copy.deepcopy(model.state_dict())
    features = torch.randn(6, 5, 4, 4, generator=seeded())
    module = BackgroundDictionary(3, 8)
    module.update(features, heads[given])
    assert module.active.all()
    for name, value in model.state_dict().items():
        assert torch.equal(before[name], value)
    assert model.norm.track_running_stats
    model.embed(features.mean((2, 3)))
    assert model.norm.num_batches_tracked == 1  # the model's own passes count as before


def test_update_freezes_batch_norm_of_its_own_thread_only() -> None:
    norm, other = nn.BatchNorm1d(5), nn.BatchNorm1d(5)

    def head(pooled: Tensor) -> Tensor:
        threads = [threading.Thread(target=other, args=(pooled,))]
        for thread in threads:
            thread.start()
            thread.join()
        found: Tensor = norm(pooled)
        return found

    BackgroundDictionary(3, 5).update(torch.randn(6, 5, 4, 4, generator=seeded()), head)
    assert norm.num_batches_tracked == 0 and other.num_batches_tracked == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_keep_float32_averages(dtype: torch.dtype) -> None:
    batch = torch.randn(16, 8, generator=seeded()).to(dtype)
    exact, module = BackgroundDictionary(4, 8), BackgroundDictionary(4, 8).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for _ in range(3):
            module.update(batch)
    for _ in range(3):
        exact.update(batch.float())
    assert module.atoms.dtype == torch.float32
    assert torch.equal(module.atoms, exact.atoms) and torch.equal(module.counts, exact.counts)


def test_updates_are_repeatable_bit_for_bit() -> None:
    first, second = BackgroundDictionary(16, 32), BackgroundDictionary(16, 32)
    for step in range(30):
        batch = torch.randn(24, 32, generator=seeded(step))
        first.update(batch)
        second.update(batch)
    assert all(torch.equal(a, b) for a, b in zip(first.buffers(), second.buffers(), strict=True))


def test_nothing_is_read_on_the_host(host_reads: Any) -> None:
    module, head = BackgroundDictionary(4, 8), nn.Linear(5, 8)
    features = torch.randn(6, 5, 4, 4)
    with host_reads:
        for _ in range(3):
            module.update(features, head)
            module.update(torch.randn(6, 8))
        _ = module.active, module.prior
    assert host_reads.found == []


# The penalty


@pytest.mark.parametrize("use_prior", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_penalty_is_the_mean_squared_cosine_with_the_active_atoms(use_prior: bool, reduction: str) -> None:
    module = dictionary(5, use_prior=use_prior, reduction=reduction)
    module.update(near(BASIS[:3], 1, noise=0.3))
    module.update(near(BASIS[:1], 4, noise=0.3, seed=1)[:1])
    module.counts[4] = 0
    embeddings = torch.randn(7, 8, dtype=torch.float64, generator=seeded(2))
    squares = (normalize(embeddings) @ module.atoms.T)[:, module.active].square()
    weights = module.prior[module.active] if use_prior else torch.ones(4, dtype=torch.float64)
    expected = (squares * weights).sum()
    if reduction == "mean":
        expected = expected / 7 / (1 if use_prior else 4)
    assert torch.allclose(module(embeddings), expected, rtol=1e-12)


def test_embeddings_orthogonal_to_the_dictionary_cost_nothing() -> None:
    module = dictionary(3)
    module.update(BASIS[:3])
    embeddings = (torch.randn(6, 5, dtype=torch.float64, generator=seeded()) @ BASIS[3:]).requires_grad_()
    penalty = module(embeddings)
    penalty.backward()
    assert penalty == 0
    assert embeddings.grad is not None and (embeddings.grad == 0).all()
    assert module(BASIS[:3]) == pytest.approx(1 / 3)


def test_a_dictionary_that_knows_nothing_costs_nothing() -> None:
    for use_prior in (False, True):
        embeddings = torch.randn(6, 8, requires_grad=True)
        penalty = BackgroundDictionary(3, 8, use_prior=use_prior)(embeddings)
        penalty.backward()
        assert penalty == 0 and embeddings.grad is not None and (embeddings.grad == 0).all()


def test_an_update_between_forward_and_backward_does_no_harm() -> None:
    module = dictionary(3)
    module.update(near(BASIS[:3], 2, noise=0.3))
    embeddings = torch.randn(6, 8, dtype=torch.float64, generator=seeded()).requires_grad_()
    (expected,) = torch.autograd.grad(module(embeddings), embeddings)
    penalty = module(embeddings)
    module.update(near(BASIS[3:6], 2, noise=0.3))
    (grad,) = torch.autograd.grad(penalty, embeddings)
    assert torch.equal(grad, expected)


# State and arguments


def test_state_dict_round_trip() -> None:
    module = dictionary(3)
    module.update(near(BASIS[:3], 4))
    assert sorted(module.state_dict()) == ["atoms", "counts", "sums"]
    assert not list(module.parameters())
    twin = dictionary(3)
    twin.load_state_dict(module.state_dict())
    for step in range(3):
        batch = near(BASIS[1:4], 4, noise=0.2, seed=step)
        module.update(batch)
        twin.update(batch)
    assert all(torch.equal(a, b) for a, b in zip(module.buffers(), twin.buffers(), strict=True))
    with pytest.raises(RuntimeError, match="size mismatch"):
        dictionary(4).load_state_dict(module.state_dict())


def test_moves_and_conversions() -> None:
    module = dictionary(3)
    assert module.float().atoms.dtype == torch.float32
    assert module.half().counts.dtype == torch.float32
    assert module.bfloat16().sums.dtype == torch.float32
    assert module.double().atoms.dtype == torch.float64
    assert module.to("meta").atoms.device.type == "meta"
    assert BackgroundDictionary(3, 8, device="meta").half().sums.dtype == torch.float32


def test_repr_names_the_settings() -> None:
    text = repr(dictionary(3, momentum=0.9, use_prior=True))
    assert "num_atoms=3, embedding_size=8, momentum=0.9" in text and "use_prior=True" in text


@pytest.mark.parametrize("num_atoms", [8, 9])
def test_warns_unless_there_are_fewer_atoms_than_dimensions(num_atoms: int) -> None:
    with pytest.warns(UserWarning, match=f"num_atoms: got {num_atoms}, expected fewer than embedding_size = 8"):
        BackgroundDictionary(num_atoms, 8)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"num_atoms": 0}, ValueError),
        ({"num_atoms": 2.5}, TypeError),
        ({"embedding_size": 0}, ValueError),
        ({"momentum": 1.0}, ValueError),
        ({"momentum": -0.1}, ValueError),
        ({"momentum": float("nan")}, ValueError),
        ({"momentum": "0.9"}, TypeError),
        ({"starved_share": 1.0}, ValueError),
        ({"reduction": "none"}, ValueError),
        ({"dtype": torch.float16}, ValueError),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception]) -> None:
    (name,) = options
    with pytest.raises(error, match=rf"^{name}: got .* expected"):
        BackgroundDictionary(**{"num_atoms": 2, "embedding_size": 8, **options})


@pytest.mark.parametrize(
    ("features", "head", "error", "name"),
    [
        (torch.zeros(4, 7), None, ValueError, "features"),
        (torch.zeros(8), None, ValueError, "features"),
        (torch.zeros(4, 8, dtype=torch.int64), None, TypeError, "features"),
        ([1.0], None, TypeError, "features"),
        (torch.zeros(4, 5, 3, 3), None, ValueError, "features"),
        (torch.zeros(4, 5, 3, 3), nn.Linear(5, 7), ValueError, "features"),
        (torch.zeros(4, 8), nn.Linear(8, 8), ValueError, "head"),
    ],
)
def test_bad_updates(features: Any, head: nn.Module | None, error: type[Exception], name: str) -> None:
    module = BackgroundDictionary(3, 8)
    with pytest.raises(error, match=rf"^{name}: .* expected"):
        module.update(features, head)
    assert not module.active.any()


def test_features_on_another_device_are_refused() -> None:
    with pytest.raises(ValueError, match="features: is on meta, expected cpu"):
        BackgroundDictionary(3, 8).update(torch.zeros(4, 8, device="meta"))


@pytest.mark.parametrize("scale", [1e25, 1e-9])
def test_scale_of_features_is_no_matter(scale: float) -> None:
    features = torch.randn(6, 8)
    plain, scaled = BackgroundDictionary(3, 8), BackgroundDictionary(3, 8)
    plain.update(features)
    scaled.update(features * scale)
    torch.testing.assert_close(scaled.atoms, plain.atoms)
    torch.testing.assert_close(scaled(features * scale), plain(features))
