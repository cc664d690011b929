"""The checks for a GPU, tried on the interpreter with small sizes; those of float16 and bfloat16 are the device's."""

from __future__ import annotations

import pytest
import torch

from tests.gpu import checks, common
from tests.triton.common import DEVICE, outcome

pytestmark = pytest.mark.skipif(DEVICE == "cuda", reason="they are run there in full")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", ["logsumexp", "field"])
def test_accuracy(monkeypatch: pytest.MonkeyPatch, kind: str, dtype: torch.dtype) -> None:
    monkeypatch.setitem(common.SIZES, "tiny", (21, 35, 20))
    checks.accuracy(kind, "tiny", dtype)


def test_an_error_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "worst_errors", lambda pairs, backend: (1e-9, 2e-4, 1e-9))
    monkeypatch.setitem(common.SIZES, "tiny", (21, 35, 20))
    with pytest.raises(AssertionError, match=r"gradients: error 2\.0e-04"):
        checks.accuracy("logsumexp", "tiny", torch.float32)


def test_scores_that_are_not_the_same_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    checks.scores_are_the_same_from_both_sides(torch.float64, "highest", 20, rows=20)
    monkeypatch.setattr(checks, "outcome", lambda *args: outcome(*args)._replace(columns=torch.zeros(60, 20)))
    with pytest.raises(AssertionError, match="columns: error"):
        checks.scores_are_the_same_from_both_sides(torch.float64, "highest", 20, rows=20)
