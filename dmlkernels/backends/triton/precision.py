"""Precision of products of float32, as ``torch.get_float32_matmul_precision`` says. Products of halves are exact."""

from __future__ import annotations

import torch

from dmlkernels.backends.triton.epilogues import Epilogue
from dmlkernels.backends.triton.plan import MOST_IN_REGISTERS, Architecture, Work

# "medium" allows bfloat16; tf32 is the least that keeps a softmax of scale 64 in order. ROCm's matrix units multiply
# float32 as it is; with six bfloat16 products instead, Triton 3.6 fails to compile the fused objective.
_FAST = {"cuda": "tf32", "hip": "bf16x3", "interpreter": "ieee"}
_PARTS = {"tf32": 1, "tf32x3": 2}  # of float16, which keep as many bits
_EXACT = {"cuda": "tf32x3", "hip": "ieee", "interpreter": "ieee"}


def first_precision(epilogue: Epilogue, arch: Architecture, mixed: bool, matmul: str) -> str:
    """Of the scores; ``matmul`` is what is set, as ``matmul_precision`` says.

    Three products of tf32 keep 21 bits of every factor and run on tensor cores: as good as float32 sums are
    (tests/triton/test_precision.py). They stand in for a product of float32 where that was timed, on sm_90: off tensor
    cores it took six times as long there. And where halves meet float32, which is ``mixed``.
    """
    if matmul == "highest":
        # Before sm_90 three products take more registers than there are (PD-Loss at D = 128 spills in its loop).
        three = arch.number // 10 == 9 or (mixed and arch.number // 10 != 8)
        return _EXACT[arch.vendor] if three else "ieee"
    # Several bfloat16 products add up in another order with the operands exchanged.
    exact = epilogue.exact_scores or (epilogue.same_scores and arch.vendor == "hip")
    return (_EXACT if exact else _FAST)[arch.vendor]


def second_precision(epilogue: Epilogue, operand: torch.dtype, arch: Architecture, mixed: bool, matmul: str) -> str:
    """Of scores and gradient in backward. For float16 the gradient alone, whose slopes need more range: see slope_type
    and parts."""
    if operand == torch.float16:
        return _FAST[arch.vendor]
    return first_precision(epilogue, arch, mixed, matmul)


def parts_needed(epilogue: Epilogue, work: Work, arch: Architecture, forward: bool) -> int:
    """Parts that vectors are split into, forward or backward; 0 for none. Of float16 the slopes alone need it."""
    parts = _PARTS.get(work.precision, 0)
    split = work.operand == torch.float32 or (work.operand == torch.float16 and not forward)
    if arch.vendor != "cuda" or arch.number // 10 != 9 or not split or not parts:
        return 0
    if work.within:  # Backward, from both ends of a pair, would spill; its scores are as exact where they must be.
        return parts if forward and epilogue.exact_scores else 0
    # Longer ones spill.
    longest = 128 if work.group > 1 else 256 if work.given and parts > 1 else 512
    fits = work.group <= MOST_IN_REGISTERS and work.dim <= longest
    return parts if fits and epilogue.bound is not None else 0


def matmul_precision() -> str:
    """What is set: "highest", "high" or "medium". Of torch's two sets of switches the newer one says what its own
    products are computed in, whichever was used; unless nobody has set it."""
    newer = getattr(torch.backends.cuda.matmul, "fp32_precision", "none")
    if newer == "none":
        return torch.get_float32_matmul_precision()
    return "high" if newer == "tf32" else "highest"
