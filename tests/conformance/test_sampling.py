"""Class sampling: the loss of the classes that were drawn, no gradient elsewhere, every class of the batch kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import dmlkernels as dml

CLASSES, DIM = 200, 6
LOSSES = [dml.normalized_softmax_loss, dml.proxy_nca_loss, dml.cosface_loss, dml.arcface_loss]
MODULES = [dml.NormalizedSoftmaxLoss, dml.ProxyNCALoss, dml.CosFaceLoss, dml.ArcFaceLoss]


def problem(batch: int = 9, classes: int = CLASSES) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    embeddings = torch.randn(batch, DIM, dtype=torch.float64, generator=generator)
    labels = torch.randint(0, classes, (batch,), generator=generator)
    proxies = torch.randn(classes, DIM, dtype=torch.float64, generator=generator)
    return embeddings.requires_grad_(), labels, proxies.requires_grad_()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


SMOOTHED = [
    partial(loss_fn, label_smoothing=0.2)
    for loss_fn in (dml.normalized_softmax_loss, dml.cosface_loss, dml.arcface_loss)
]


@pytest.mark.parametrize("loss_fn", [*LOSSES, *SMOOTHED])
def test_it_is_the_loss_of_the_classes_drawn(loss_fn: Callable[..., Tensor]) -> None:
    embeddings, labels, proxies = problem()
    labels[4] = -100
    loss = loss_fn(embeddings, labels, proxies, sample_classes=0.1, sample_generator=seeded())
    rows, columns = torch.autograd.grad(loss, (embeddings, proxies))
    chosen = columns.any(1).nonzero()[:, 0]
    assert len(chosen) == 20
    assert torch.isin(labels[labels >= 0], chosen).all()
    part = proxies.detach()[chosen].requires_grad_()
    places = torch.where(labels >= 0, torch.searchsorted(chosen, labels), labels)
    truth = loss_fn(embeddings, places, part)
    true_rows, true_columns = torch.autograd.grad(truth, (embeddings, part))
    torch.testing.assert_close(loss, truth, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(rows, true_rows, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(columns[chosen], true_columns, rtol=1e-10, atol=1e-12)


def drawn(seed: int | None, **options: Any) -> Tensor:
    embeddings, labels, proxies = problem()
    generator = None if seed is None else seeded(seed)
    loss = dml.cosface_loss(embeddings, labels, proxies, sample_classes=0.3, sample_generator=generator, **options)
    gradient = torch.autograd.grad(loss, proxies)[0]
    return gradient.to_dense().any(1)


def test_each_step_draws_anew_from_the_generator() -> None:
    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    assert not torch.equal(drawn(None), drawn(None))
    counts = torch.stack([drawn(seed) for seed in range(200)]).sum(0)
    others = counts[counts < 200]
    assert others.min() > 20 and others.max() < 100  # about 200 * 51 / 191 each


@pytest.mark.parametrize("fraction", [0.001, 0.01, 1.0])
@pytest.mark.parametrize("batch", [1, 40])
def test_every_class_of_the_batch_is_kept(batch: int, fraction: float) -> None:
    embeddings, labels, proxies = problem(batch, 30)
    loss = dml.proxy_nca_loss(embeddings, labels, proxies, sample_classes=fraction, include_positive=False)
    gradient = torch.autograd.grad(loss, proxies)[0]
    assert loss.isfinite() and gradient[labels].any(1).all()
    if fraction == 1:
        torch.testing.assert_close(loss, dml.proxy_nca_loss(embeddings, labels, proxies, include_positive=False))


@pytest.mark.parametrize(
    "optimiser",
    [
        lambda parameters: torch.optim.SparseAdam(parameters, lr=0.1),
        lambda parameters: torch.optim.Adagrad(parameters, lr=0.1),
        lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    ],
    ids=["SparseAdam", "Adagrad", "SGD"],
)
@pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled")  # of torch's optimisers
def test_sparse_gradients_leave_other_rows_and_their_state(optimiser: Callable[..., Any]) -> None:
    module = dml.ArcFaceLoss(
        CLASSES, DIM, sample_classes=0.1, sample_generator=seeded(), sparse=True, generator=seeded(1)
    )
    optimizer = optimiser(module.parameters())
    embeddings, labels, _ = problem()
    for _ in range(4):
        before = module.proxies.detach().clone()
        state = {
            name: value.clone()
            for name, value in optimizer.state[module.proxies].items()
            if not isinstance(value, int) and value.dim()
        }
        optimizer.zero_grad()
        module(embeddings.detach().float(), labels).backward()
        gradient = module.proxies.grad
        assert gradient is not None and gradient.is_sparse
        rows = gradient.coalesce().indices()[0]
        assert len(rows) == 20
        optimizer.step()
        others = torch.ones(CLASSES, dtype=torch.bool).index_fill_(0, rows, False)
        assert torch.equal(module.proxies[others], before[others])
        assert not torch.equal(module.proxies[rows], before[rows])
        for name, value in state.items():
            assert torch.equal(optimizer.state[module.proxies][name][others], value[others])


def test_sparse_and_dense_gradients_are_equal() -> None:
    assert torch.equal(drawn(5), drawn(5, sparse=True))


@pytest.mark.parametrize("kind", MODULES)
def test_modules_take_it(kind: Any) -> None:
    embeddings, labels, _ = problem()
    module = kind(CLASSES, DIM, dtype=torch.float64, sample_classes=0.25)
    module(embeddings, labels).backward()
    assert int(module.proxies.grad.any(1).sum()) == 50
    assert "sample_classes=0.25" in repr(module)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_classes": 0}, "sample_classes: got 0"),
        ({"sample_classes": 1.5}, "sample_classes: got 1.5"),
        ({"sample_classes": 0.5, "proxy_labels": torch.arange(CLASSES)}, "sample_classes: came with proxy_labels"),
        ({"sparse": True}, "sparse: got True without"),
        ({"sample_classes": 0.5, "sample_generator": 3}, "sample_generator: got int"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_options_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        dml.normalized_softmax_loss(*problem(), **options)


def test_a_label_that_is_no_class_is_an_error_as_ever() -> None:
    embeddings, labels, proxies = problem()
    labels[2] = CLASSES
    with pytest.raises(ValueError, match="labels: 200 is the class of no proxy"):
        dml.normalized_softmax_loss(embeddings, labels, proxies, sample_classes=0.5)
