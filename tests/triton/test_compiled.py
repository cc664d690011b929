"""What ships compiles for GPUs that are not here, within their limits, onto tensor cores, without spilling.

The full table of docs/kernels.md is made by ``python -m tests.triton.table``; this is the part that fits into CI.
"""

from __future__ import annotations

import inspect

import pytest
import torch

pytest.importorskip("triton")

from dmlkernels.backends.triton.kernels import backward, forward, norms
from tests.triton.compiling import SHARED_LIMIT, TARGETS
from tests.triton.launches import KINDS, compile_launches

MAIN = ("forward_kernel", "backward_kernel")
# Bytes a thread, where no tile size tried was without: the fused objective keeps the numbers of three losses.
ALLOWED_SPILL = {
    ("fused", "backward_kernel", "sm_80"): 192,
    ("fused", "forward_kernel", "sm_100"): 64,
    ("fused", "backward_kernel", "gfx942"): 1024,
    ("soft_triple", "backward_kernel", "sm_100"): 16,
    ("soft_triple", "backward_kernel", "gfx942"): 128,
}
HALF_UNIT = {"sm_80": "HMMA", "sm_90": "HGMMA", "sm_100": "MMA", "gfx942": "v_mfma"}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16(kind: str, target: str) -> None:
    found = compile_launches(kind, target, torch.bfloat16, 128)
    assert {one.kernel for one in found} >= {"norms_kernel", *MAIN}
    for one in found:
        assert one.shared <= SHARED_LIMIT[target]
        assert one.spilled <= ALLOWED_SPILL.get((kind, one.kernel, target), 0), one
        if one.kernel in MAIN:
            assert any(HALF_UNIT[target] in name for name in one.tensor_core), one


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("target", TARGETS)
def test_other_dtypes(target: str, dtype: torch.dtype) -> None:
    for one in compile_launches("logsumexp", target, dtype, 128):
        assert one.shared <= SHARED_LIMIT[target]


@pytest.mark.parametrize("target", TARGETS)
def test_wide_and_odd_vectors(target: str) -> None:
    """Several blocks of D, and a D that is no multiple of anything."""
    for dim in (512, 37):
        for one in compile_launches("logsumexp", target, torch.bfloat16, dim):
            assert one.shared <= SHARED_LIMIT[target]
            assert one.spilled <= {"sm_80": 96, "sm_100": 16}.get(target, 0), one


def test_parameters_are_few() -> None:
    for module in (forward, backward, norms):
        for name, function in vars(module).items():
            if name.endswith("_kernel"):
                parameters = inspect.signature(function.fn).parameters.values()
                constants = sum("constexpr" in str(parameter.annotation) for parameter in parameters)
                assert constants <= 12 and len(parameters) - constants <= 15, name
