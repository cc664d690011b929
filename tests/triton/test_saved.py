"""The parts of what forward keeps lie apart in its memory, aligned, wherever that begins."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")

from dmlkernels.backends.triton.saved import saved_size, split
from tests.triton.launches import KINDS, make_pairs


@pytest.mark.parametrize("offset", [0, 128])
@pytest.mark.parametrize("operands", [(torch.float32, None), (torch.float64, None), (torch.bfloat16, torch.float32)])
@pytest.mark.parametrize("kind", KINDS)
def test_parts(kind: str, operands: tuple[torch.dtype, torch.dtype | None], offset: int) -> None:
    shape = make_pairs(kind, operands[0], 16, 100, 320, operands[1]).shape
    memory = torch.zeros(offset + saved_size(shape) + 128, dtype=shape.dtype)
    saved = memory[offset : offset + saved_size(shape)]
    parts = split(shape, saved)
    own = [part for part in parts[:5] if part is not None] + [parts.counters]
    for number, part in enumerate(own, 1):
        assert part is not None
        assert not part.any(), "apart from those before"
        part.fill_(number)
        assert part.is_contiguous() and (part.data_ptr() - saved.data_ptr()) % (128 * part.itemsize) == 0
        assert part.untyped_storage().data_ptr() == memory.untyped_storage().data_ptr()
    assert not memory[:offset].any() and not memory[offset + saved_size(shape) :].any()
    assert parts.cleared is not None and parts.cleared.all()
