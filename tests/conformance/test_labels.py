"""What labels may not say: classes without proxies, too few classes, nothing at all."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import dmlkernels as dml
from dmlkernels.ops import resolve_labels, resolve_pair_labels
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


@pytest.mark.parametrize(
    ("dtype", "ignore_index"),
    [
        (torch.uint8, -255),  # 1 as uint8
        (torch.uint8, 257),
        (torch.int8, 257),
        (torch.int16, 65537),
        (torch.int32, 2**32 + 1),
        (torch.int64, 2**63 - 1),
    ],
    ids=str,
)
@pytest.mark.parametrize("loss", LABELLED, ids=str)
def test_ignore_index_is_compared_as_given(loss: Loss, dtype: torch.dtype, ignore_index: int, backend: str) -> None:
    """Not as the labels' dtype wraps it: no label here is ignored."""
    problem = make_problem("plain", torch.float32)
    narrow = replace(problem, labels=problem.labels.to(dtype))
    torch.testing.assert_close(loss(narrow, backend, ignore_index=ignore_index), loss(problem, backend), rtol=0, atol=0)


@pytest.mark.parametrize("loss", LABELLED, ids=str)
def test_the_mark_of_ignored_rows_is_no_class(loss: Loss, backend: str) -> None:
    lowest = torch.iinfo(torch.int64).min
    problem = make_problem("class_ids" if "proxy_labels" in loss.keywords else "plain", torch.float32)
    spoilt = replace(problem, labels=problem.labels.masked_fill(problem.labels == problem.labels[0], lowest))
    if problem.proxy_labels is not None:
        spoilt = replace(
            spoilt, proxy_labels=problem.proxy_labels.masked_fill(problem.proxy_labels == problem.labels[0], lowest)
        )
    with pytest.raises(ValueError, match=r"labels: (got )?-9223372036854775808"):
        loss(spoilt, backend)
    ignored = replace(problem, labels=spoilt.labels)
    usual = replace(problem, labels=spoilt.labels.masked_fill(spoilt.labels == lowest, -100))
    torch.testing.assert_close(loss(ignored, backend, ignore_index=lowest), loss(usual, backend), rtol=0, atol=0)


@pytest.mark.parametrize("ignore_index", [2**63, -(2**63) - 1])
def test_ignore_index_beyond_int64(ignore_index: int, backend: str) -> None:
    for loss in LABELLED:
        with pytest.raises(ValueError, match=f"^ignore_index: got {ignore_index}, expected a number that fits int64"):
            loss(make_problem("plain", torch.float32), backend, ignore_index=ignore_index)


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


def test_what_is_not_checked_gives_nan() -> None:
    """As on a GPU, where the labels are not read on the host."""
    lowest = torch.iinfo(torch.int64).min
    good, bad = torch.tensor([3, 156, 3], dtype=torch.uint8), torch.tensor([3, lowest, 7])
    classes = torch.tensor([156, 3])
    assert resolve_labels(good, classes, 2, -100, False, True, True, 0)[0].tolist() == [3, 156, 3]
    assert resolve_labels(good, classes, 2, -100, False, True, True, 0)[1] == 0
    assert resolve_labels(bad, torch.tensor([3, lowest, 7]), 3, -100, False, True, True, 0)[1].isnan()
    assert resolve_labels(bad, None, 8, lowest, False, True, True, 0)[1] == 0
    assert resolve_pair_labels(good, -100, False, True, 0)[1] == 0
    assert resolve_pair_labels(bad, -100, False, True, 0)[1].isnan()
