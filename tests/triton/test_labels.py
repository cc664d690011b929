"""Labels resolved in one launch: what the checked way gives, and NaN where that raises."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import dmlkernels as dml
from dmlkernels.ops.labels import resolve_labels, resolve_pair_labels
from dmlkernels.ops.labels_at_once import labels_at_once
from dmlkernels.statistics import IGNORED
from tests.triton.common import DEVICE

DTYPES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def on_device(values: list[int], dtype: torch.dtype = torch.int64) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=DEVICE)


@pytest.mark.parametrize("joined", [0, 1, 16])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_is_what_the_other_way_gives(dtype: torch.dtype, given: bool, joined: int) -> None:
    for ignore_index in (-100, 2, 156):
        for values in ([0, 3, 2, 1, 2], [5, 2], [100, 3, 2], [2, 2], list(range(90)) * 3):
            labels = on_device(values, dtype)
            classes = on_device([*range(3, 90), 0, 1, 3]) if given else None
            expected, poison = resolve_labels(labels, classes, 90, ignore_index, False, True, False, 0)
            if joined:
                expected = torch.cat((expected, torch.arange(90, device=DEVICE) if classes is None else classes))
            found, found_poison = labels_at_once(labels, classes, 90, ignore_index, joined)
            if joined:
                gap = slice(len(labels), -90)
                assert found[gap].tolist() == [IGNORED] * (-len(labels) % joined)
                found = torch.cat((found[: len(labels)], found[-90:]))
            assert torch.equal(found, expected)
            assert found_poison.isnan() == poison.isnan() and found_poison.dtype == torch.float32


def test_a_class_that_is_the_mark_of_ignored_rows() -> None:
    assert labels_at_once(on_device([3]), on_device([3, IGNORED]), 2, -100, 0)[1].isnan()
    assert labels_at_once(on_device([3, IGNORED]), None, -1, -100, 0)[1].isnan()
    assert not labels_at_once(on_device([3, IGNORED]), None, -1, IGNORED, 0)[1].isnan()


def test_any_class_will_do() -> None:
    labels = on_device([7, -100, -3, 2**40])
    found, expected = labels_at_once(labels, None, -1, -100, 0), resolve_pair_labels(labels, -100, False, False, 0)
    assert torch.equal(found[0], expected[0]) and found[1] == expected[1] == 0


def test_strided_labels_and_the_ops_contract() -> None:
    labels = on_device([0, 9, 1, 9, 2, 9])[::2]
    assert labels_at_once(labels, None, 3, -100, 0)[0].tolist() == [0, 1, 2]
    for given in (None, on_device([0, 1, 2])):
        torch.library.opcheck(torch.ops.dmlkernels.labels_at_once.default, (labels, given, 3, -100, 16))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int8, torch.uint8], ids=str)
def test_types_of_labels_resolved_within_forward(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, proxies = torch.randn(6, 8, device=DEVICE), torch.randn(5, 8, device=DEVICE)
    labels = on_device([0, 9, 1, 9, 4, 9, 3, 9, 2, 9, 1, 9], dtype)[::2]
    for ignore_index in (-100, 156, 1, 4):  # 156 is what -100 is as uint8
        found, expected = (
            dml.normalized_softmax_loss(x, labels, proxies, ignore_index=ignore_index, backend=backend)
            for backend in ("triton", "torch")
        )
        torch.testing.assert_close(found, expected)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("bad", [-1, 5, 2**40, -(2**63)])
@pytest.mark.parametrize("batch", [1, 2000])  # one program looks at all
def test_a_label_without_a_proxy_gives_nan(bad: int, batch: int) -> None:
    x, proxies = torch.randn(batch, 4, device=DEVICE), torch.randn(5, 4, device=DEVICE)
    labels = torch.zeros(batch, dtype=torch.int64, device=DEVICE)
    assert dml.normalized_softmax_loss(x, labels, proxies, backend="triton").isfinite()
    labels[-1] = bad
    for loss in (dml.normalized_softmax_loss, dml.pd_loss):
        assert loss(x, labels, proxies, backend="triton").isnan()
        if batch > 1:
            assert loss(x, labels, proxies, ignore_index=bad, backend="triton").isfinite()


@pytest.mark.usefixtures("unchecked")
def test_labels_may_be_written_into_before_backward() -> None:
    """The next batch's, for one: kernels keep what they need."""
    x, proxies = torch.randn(6, 8, device=DEVICE, requires_grad=True), torch.randn(5, 8, device=DEVICE)
    labels = on_device([0, 1, 2, 3, 4, 0])
    (expected,) = torch.autograd.grad(dml.arcface_loss(x, labels, proxies, backend="triton"), x)
    loss = dml.arcface_loss(x, labels, proxies, backend="triton")
    labels.zero_()
    (found,) = torch.autograd.grad(loss, x)
    assert torch.equal(found, expected)
