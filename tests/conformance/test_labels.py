"""What labels may not say: classes without proxies, too few classes, nothing at all."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import dmlkernels as dml
from tests.cases import ERROR_CASES, Case
from tests.conformance.evaluate import assert_close, ours, truth
from tests.losses import ANCHOR, DECIDABILITY, FIELD, FIELD_ALONE, FUSED, LOSSES, NCA, PD, SOFTMAX, Loss
from tests.problem import make_problem

LABELLED = [loss for loss in LOSSES if "labels" in loss.inputs]
WITH_PROXIES = [loss for loss in LABELLED if {"proxies", "centers"} & set(loss.inputs)]


@pytest.mark.parametrize("case", ERROR_CASES, ids=str)
def test_error_cases(case: Case, backend: str) -> None:
    if case.batch == 0:
        with pytest.raises(ValueError, match=r"^embeddings: got shape \(0, 8\), expected at least one row"):
            PD(make_problem(case, torch.float32), backend)
        return
    with pytest.raises(ValueError, match=case.error):
        PD(make_problem(case, torch.float32), backend)


@pytest.mark.parametrize("loss", WITH_PROXIES, ids=str)
def test_a_label_without_a_proxy_is_named(loss: Loss, backend: str) -> None:
    problem = make_problem("plain", torch.float32)
    for labels, first in ((problem.labels + 3, 5), (-problem.labels, -1), (problem.labels * 10**12, 10**12)):
        with pytest.raises(ValueError, match=f"^labels: {first} is the class of no proxy; expected .*-100"):
            loss(replace(problem, labels=labels), backend)
    if "proxy_labels" in loss.keywords:
        spoilt = replace(problem, proxy_labels=torch.tensor([0, 1, 2, 7, 7]))
        with pytest.raises(ValueError, match=r"^labels: 3 is the class of no proxy; expected the classes in proxy_lab"):
            loss(spoilt, backend)


@pytest.mark.parametrize("loss", [loss for loss in LABELLED if loss is not FIELD], ids=str)
def test_all_ignored(loss: Loss, backend: str) -> None:
    problem = make_problem("plain", torch.float32)
    with pytest.raises(ValueError, match=r"^labels: .*ignore"):
        loss(replace(problem, labels=torch.full_like(problem.labels, -100)), backend)


def test_a_field_of_proxies_alone_is_a_field(backend: str) -> None:
    problem = make_problem("plain", torch.float32)
    ignored = replace(problem, labels=torch.full_like(problem.labels, -100))
    alone = dml.potential_field_loss(problem.proxies, torch.arange(5), backend=backend)
    torch.testing.assert_close(FIELD(ignored, backend), alone)


@pytest.mark.parametrize("loss", [PD, FUSED, NCA.branch("original", include_positive=False)], ids=str)
def test_one_class_of_proxies(loss: Loss, backend: str) -> None:
    problem = make_problem("one_sample", torch.float32)
    one = replace(problem, labels=torch.tensor([3]), proxy_labels=torch.tensor([3] * 5))
    with pytest.raises(ValueError, match=r"^proxy_labels: the impostor set is empty: all 5 proxies have class 3"):
        loss(one, backend)
    one = replace(problem, labels=torch.tensor([0]), proxies=problem.proxies[:1])
    with pytest.raises(ValueError, match=r"^proxies: the impostor set is empty: there is one proxy"):
        loss(one, backend)


def test_one_class_is_no_error_where_it_means_something(backend: str) -> None:
    """A softmax over one class is certain; Proxy-Anchor has nothing to push."""
    problem = make_problem("one_sample", torch.float32)
    one = replace(problem, labels=torch.tensor([0]), proxies=problem.proxies[:1].detach().requires_grad_())
    for loss in (SOFTMAX, NCA, ANCHOR):
        assert_close(ours(loss, one, backend), truth(loss, one), one, 1e-6)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 1, 1], "the impostor set is empty: all 3 samples are of one class"),
        ([0, 1, 2], "the genuine set is empty: all 3 samples are of different classes"),
        ([-100, 1, -100], "the impostor set is empty: all 1 samples are of one class"),
        ([-100, -100, -100], "every row is ignored"),
    ],
)
def test_a_batch_without_pairs(labels: list[int], message: str, backend: str) -> None:
    with pytest.raises(ValueError, match=f"^labels: {message}"):
        dml.decidability_loss(torch.eye(3), torch.tensor(labels), backend=backend)


def test_field_alone_takes_any_labels(backend: str) -> None:
    problem = replace(make_problem("plain", torch.float32), labels=torch.arange(12) % 3 - 7)
    assert FIELD_ALONE(problem, backend).isfinite() and DECIDABILITY(problem, backend).isfinite()
