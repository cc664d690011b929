"""The checks for a GPU, tried on the interpreter with small sizes; those of float16 and bfloat16 are the device's."""

from __future__ import annotations

import pytest
import torch

from tests.gpu import checks, common
from tests.triton.common import DEVICE

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
