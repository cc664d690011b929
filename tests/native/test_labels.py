"""Labels resolved in one pass are those that plain PyTorch resolves; what it complains of is left to that."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dmlkernels.backends import native
from dmlkernels.backends.native.labels import resolved
from dmlkernels.functional.checks import INTEGERS
from dmlkernels.ops import labels as ops
from dmlkernels.ops import resolve_labels
from dmlkernels.statistics import IGNORED

pytestmark = pytest.mark.skipif(
    native.unavailable_reason() is not None, reason=native.unavailable_reason() or "the native module is here"
)


def in_plain_pytorch(labels: Tensor, ignore_index: int, num_classes: int, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    with monkeypatch.context() as patched:
        patched.setattr(ops, "resolved", lambda *args: None)
        return resolve_labels(labels, None, num_classes, ignore_index, True, True, True, 0)[0]


@pytest.mark.parametrize("ignore_index", [-100, 0, 3, 156, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_equals_plain_pytorch(dtype: torch.dtype, ignore_index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ignored labels are compared as numbers, not as bits of their type."""
    wide = torch.randint(127, (1000,), generator=torch.Generator().manual_seed(0))
    if torch.iinfo(dtype).min <= ignore_index <= torch.iinfo(dtype).max:
        wide[::7] = ignore_index
    labels = torch.stack((wide, wide.flip(0)), 1).to(dtype)[:, 0]
    before = labels.clone()
    found = resolved(labels, ignore_index, 157)
    assert found is not None and not labels.is_contiguous() and torch.equal(labels, before)
    assert torch.equal(found, in_plain_pytorch(labels, ignore_index, 157, monkeypatch))
    assert torch.equal(found == IGNORED, wide == ignore_index)


def test_a_result_is_no_alias() -> None:
    labels = torch.arange(5)
    found = resolved(labels, -100, 5)
    assert found is not None and found.data_ptr() != labels.data_ptr()


@pytest.mark.parametrize("labels", [[0, 5], [0, -1], [2**32], [-100, -100], [IGNORED]], ids=str)
def test_what_is_wrong_is_left_to_others(labels: list[int]) -> None:
    assert resolved(torch.tensor(labels), -100, 5) is None
    with pytest.raises(ValueError, match=r"^labels: "):
        resolve_labels(torch.tensor(labels), None, 5, -100, True, True, False, 0)
