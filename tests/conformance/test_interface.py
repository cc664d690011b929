"""One interface for every loss module: what a training script calls without knowing which loss it has."""

from __future__ import annotations

import copy
import functools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

import dmlkernels as dml
from tests.conformance.test_modules import CLASSES, DIM, LABELS, every_owner, made, samples

MEMORY, MEMORY_LABELS = samples(seed=5), torch.tensor([1, 1, 0, 2, 3, 3])


def step(module: Any, optimizer: torch.optim.Optimizer, labels: Tensor = LABELS) -> None:
    optimizer.zero_grad()
    module(samples(), labels).backward()
    optimizer.step()


@every_owner
def test_further_samples_join_the_batch(build: Any) -> None:
    module = made(build)
    x = samples().requires_grad_()
    found = module(x, LABELS, None, MEMORY, MEMORY_LABELS)
    (gradient,) = torch.autograd.grad(found, x)
    both = torch.cat([samples(), MEMORY]).requires_grad_()
    expected = module(both, torch.cat([LABELS, MEMORY_LABELS]))
    (expected_gradient,) = torch.autograd.grad(expected, both)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient, expected_gradient[: len(x)])


@every_owner
def test_samples_that_are_in_the_batch_already_count_once(build: Any) -> None:
    module = made(build)
    order = torch.tensor([3, 0, 5, 1, 2, 4])
    ref_emb, ref_labels = torch.cat([samples()[order], MEMORY]), torch.cat([LABELS[order], MEMORY_LABELS])
    found = module(samples(), LABELS, None, ref_emb, ref_labels)
    expected = module(torch.cat([samples(), MEMORY]), torch.cat([LABELS, MEMORY_LABELS]))
    torch.testing.assert_close(found, expected)


def test_the_same_embedding_with_another_label_counts() -> None:
    module = made(dml.NormalizedSoftmaxLoss)
    other = (LABELS.clamp_min(0) + 1) % CLASSES
    found = module(samples(), LABELS, None, samples(), other)
    torch.testing.assert_close(found, module(samples().repeat(2, 1), torch.cat([LABELS, other])))


def test_weights_of_a_batch_with_further_samples() -> None:
    module, weight = made(dml.CosFaceLoss), torch.rand(len(LABELS))
    found = module(samples(), LABELS, None, MEMORY, MEMORY_LABELS, sample_weight=weight)
    both = torch.cat([samples(), MEMORY]), torch.cat([LABELS, MEMORY_LABELS])
    torch.testing.assert_close(found, module(*both, sample_weight=torch.cat([weight, torch.ones(6)])))


def test_further_samples_that_do_not_fit() -> None:
    module = made(dml.PDLoss)
    with pytest.raises(ValueError, match=r"^ref_labels: got None"):
        module(samples(), LABELS, None, MEMORY)
    with pytest.raises(ValueError, match=r"^ref_emb: got 3 dimensions, expected 8"):
        module(samples(), LABELS, None, MEMORY[:, :3], MEMORY_LABELS)
    with pytest.raises(ValueError, match=r"^ref_labels: got shape \(5,\), expected \(6,\)"):
        module(samples(), LABELS, None, MEMORY, MEMORY_LABELS[:5])
    with pytest.raises(TypeError, match=r"^sample_weight: SoftTripleFree takes none"):
        type("SoftTripleFree", (dml.DecidabilityLoss,), {})()(samples(), LABELS % 2, sample_weight=torch.ones(6))


@every_owner
def test_a_miner_is_ignored_and_said_to_be(build: Any) -> None:
    module = made(build)
    pairs = tuple(torch.tensor([0, 1]) for _ in range(4))
    with pytest.warns(UserWarning, match=r"^indices_tuple: .* sees every sample"):
        found = module(samples(), LABELS, pairs)
    assert torch.equal(module(samples(), LABELS, pairs), found)  # once
    assert torch.equal(found, module(samples(), LABELS))


@every_owner
def test_parts_are_detached(build: Any) -> None:
    module = made(build)
    loss = module(samples(), LABELS)
    assert module.parts and not any(part.requires_grad for part in module.parts.values())
    if len(module.parts) == 1:
        assert torch.equal(module.parts["loss"], loss)


@every_owner
def test_logits_are_highest_at_the_class_of_a_proxy(build: Any) -> None:
    module = made(build)
    logits = module.get_logits(module.proxies.detach())
    classes = torch.arange(CLASSES).repeat_interleave(module.proxies_per_class)
    assert logits.shape == (len(classes), CLASSES)
    assert torch.equal(logits.argmax(1), classes)


@every_owner
@pytest.mark.parametrize(
    "optimiser", [torch.optim.SGD, torch.optim.AdamW, torch.optim.Adagrad], ids=lambda kind: kind.__name__
)
def test_new_classes_train_on_with_the_optimiser(build: Any, optimiser: Any) -> None:
    module = made(build)
    options = {"momentum": 0.9} if optimiser is torch.optim.SGD else {}
    optimizer = optimiser(module.param_groups(lr=1e-4), **options)
    twin = copy.deepcopy(module)
    for _ in range(2):
        step(module, optimizer)
    parameter, old = module.proxies, module.proxies.detach().clone()
    state = {name: value.clone() for name, value in optimizer.state[parameter].items() if isinstance(value, Tensor)}
    module.extend_classes(2, optimizer=optimizer, generator=torch.Generator().manual_seed(1))
    assert module.num_classes == CLASSES + 2 and module.proxies is parameter
    assert torch.equal(parameter[: len(old)], old) and len(parameter) == (CLASSES + 2) * module.proxies_per_class
    for name, value in state.items():
        assert torch.equal(optimizer.state[parameter][name][: len(value)] if value.dim() else value, value)
    before = parameter.detach().clone()
    step(module, optimizer, torch.tensor([0, 3, 1, 5, 4, 0]))
    assert not torch.equal(parameter[-1], before[-1]) and parameter.isfinite().all()
    twin.extend_classes(2)
    twin.load_state_dict(module.state_dict())
    assert torch.equal(twin(samples(), LABELS), module(samples(), LABELS))


def test_new_classes_of_other_counts_and_owners() -> None:
    module = made(dml.PDLoss)
    for count in (0, -1):
        with pytest.raises(ValueError, match=rf"^num_new: got {count}"):
            module.extend_classes(count)
    torch.nn.utils.parametrizations.weight_norm(module, "proxies")
    with pytest.raises(RuntimeError, match=r"^proxies: are parametrised or sharded"):
        module.extend_classes(1)


def test_margins_of_classes_are_extended_by_their_mean() -> None:
    module = dml.CosFaceLoss(3, DIM, margin=torch.tensor([0.1, 0.2, 0.3]), learnable_margin=True)
    optimizer = torch.optim.Adam(module.param_groups(lr=1e-3))
    step(module, optimizer, torch.tensor([0, 1, 2, 0, 1, 2]))
    expected = module.margin.detach().mean()
    module.extend_classes(2, optimizer=optimizer)
    torch.testing.assert_close(module.margin[3:].detach(), expected.expand(2))
    step(module, optimizer, torch.tensor([0, 1, 2, 3, 4, 2]))
    assert module.margin.isfinite().all() and not torch.equal(module.margin[3], module.margin[2])


def test_a_loss_without_proxies_answers_too() -> None:
    module = dml.DecidabilityLoss()
    module.init_proxies_from(samples(), LABELS)
    module.extend_classes(3)
    assert module.param_groups(lr=0.1) == []
    with pytest.raises(RuntimeError, match=r"^DecidabilityLoss has no proxies"):
        module.get_logits(samples())


def test_couce_passes_on_to_its_base() -> None:
    module = dml.CouCE(made(dml.CosFaceLoss), dictionary=dml.BackgroundDictionary(3, DIM))
    (group,) = module.param_groups(lr=1e-3)
    assert group["params"] == [module.base_loss.proxies] and group["lr"] == pytest.approx(0.1)
    module.init_proxies_from(samples(), LABELS.clamp_min(0))
    module.extend_classes(1)
    assert module.get_logits(samples()).shape == (len(LABELS), CLASSES + 1)
    found = module(samples(), LABELS, None, MEMORY, MEMORY_LABELS)
    torch.testing.assert_close(found, module.base_loss(samples(), LABELS, None, MEMORY, MEMORY_LABELS))
    plain = dml.CouCE(torch.nn.PairwiseDistance())
    assert plain.param_groups(lr=0.1) == []
    with pytest.raises(RuntimeError, match=r"^base_loss: PairwiseDistance has no get_logits"):
        plain.get_logits(samples())


def test_last_parts_is_deprecated() -> None:
    module = dml.CouCE(made(dml.PDLoss))
    module(samples(), LABELS)
    with pytest.warns(DeprecationWarning, match="last_parts is deprecated"):
        assert module.last_parts is module.parts


@every_owner
def test_a_memory_is_the_batches_before(build: Any) -> None:
    module = made(build)
    memory = dml.CrossBatchMemory(module, DIM, memory_size=8)
    batches = [samples(seed) for seed in range(3)]
    for batch in batches[:2]:
        memory(batch, LABELS)
    x = batches[2].clone().requires_grad_()
    found = memory(x, LABELS)
    found.backward()
    kept = torch.cat(batches[:2])[-8:], torch.cat([LABELS, LABELS])[-8:]
    torch.testing.assert_close(found, module(torch.cat([batches[2], kept[0]]), torch.cat([LABELS, kept[1]])))
    assert x.grad is not None and x.grad.any() and not memory.memory.requires_grad


def test_a_memory_resumes_forgets_and_rests_in_evaluation() -> None:
    memory = dml.CrossBatchMemory(made(dml.PDLoss), DIM, memory_size=20)
    memory(samples(1), LABELS)
    twin = dml.CrossBatchMemory(made(dml.PDLoss), DIM, memory_size=20)
    twin.load_state_dict(memory.state_dict())
    first = memory.eval()(samples(2), LABELS)
    assert torch.equal(memory(samples(2), LABELS), first)
    assert torch.equal(twin(samples(2), LABELS), first)
    memory.reset()
    torch.testing.assert_close(memory(samples(2), LABELS), memory.loss(samples(2), LABELS))
    with pytest.raises(TypeError, match=r"^loss: got Linear, expected a loss module"):
        dml.CrossBatchMemory(torch.nn.Linear(2, 2), DIM)  # type: ignore[arg-type]


def test_a_memory_is_not_recomputed() -> None:
    memory = dml.CrossBatchMemory(made(dml.PDLoss), DIM, memory_size=8)
    loss = checkpoint(memory, samples().requires_grad_(), LABELS, use_reentrant=False)
    with pytest.raises(RuntimeError, match=r"^memory: changes at each call"):
        loss.backward()


def test_classes_drawn_by_a_generator_of_ones_own_are_not_recomputed() -> None:
    x, proxies = samples().requires_grad_(), torch.randn(50, DIM)
    options = {"sample_classes": 0.5, "sample_generator": torch.Generator()}
    loss = checkpoint(dml.normalized_softmax_loss, x, LABELS, proxies, use_reentrant=False, **options)
    with pytest.raises(RuntimeError, match=r"^sample_generator: changes at each call"):
        loss.backward()
    torch.manual_seed(0)  # torch's own generator is put back
    loss = checkpoint(dml.normalized_softmax_loss, x, LABELS, proxies, use_reentrant=False, sample_classes=0.5)
    (found,) = torch.autograd.grad(loss, x)
    torch.manual_seed(0)
    (expected,) = torch.autograd.grad(dml.normalized_softmax_loss(x, LABELS, proxies, sample_classes=0.5), x)
    assert torch.equal(found, expected)


@every_owner
def test_classes_are_added_while_the_last_loss_is_alive(build: Any) -> None:
    """As the variable of any training loop keeps it: autograd remembers shapes as long as a graph lives."""
    module = made(build)
    optimizer = torch.optim.AdamW(module.param_groups(lr=1e-3), lr=1e-3)
    last = module(samples(), LABELS)
    optimizer.zero_grad()
    last.backward()
    optimizer.step()
    before = module.proxies.detach().clone()
    module.extend_classes(2, optimizer=optimizer)
    step(module, optimizer, LABELS.clamp_min(0) + 2)
    assert module.proxies.shape[0] == (CLASSES + 2) * module.proxies_per_class
    assert not torch.equal(module.proxies[: len(before)], before) and module.proxies.isfinite().all()


@pytest.mark.skipif(not hasattr(torch.optim, "Adafactor"), reason="this torch has no Adafactor")
def test_an_optimiser_that_keeps_one_number_a_row() -> None:
    module = made(dml.PDLoss)
    optimizer = torch.optim.Adafactor(module.parameters(), lr=1e-3)
    step(module, optimizer)
    module.extend_classes(2, optimizer=optimizer)
    step(module, optimizer, LABELS.clamp_min(0) + 2)
    assert module.proxies.isfinite().all()


@every_owner
def test_selective_checkpointing_finds_the_operations_that_it_kept(build: Any) -> None:
    module, network = made(build), torch.nn.Linear(DIM, DIM)
    contexts = functools.partial(create_selective_checkpoint_contexts, [torch.ops.aten.addmm.default])
    for seed in range(3):
        x = samples(seed)
        loss = checkpoint(lambda x: module(network(x), LABELS), x, use_reentrant=False, context_fn=contexts)
        found = torch.autograd.grad(loss, network.weight)
        torch.testing.assert_close(found, torch.autograd.grad(module(network(x), LABELS), network.weight))
