"""The Triton backend: tiles of scores in registers, on CUDA and ROCm devices, or interpreted on a CPU for tests.

Triton is imported when a kernel is first needed, so that the package imports without it.
"""

from __future__ import annotations

from dmlkernels.backends.pairs import Forward, Gradients, Pairs
from dmlkernels.backends.triton.availability import unavailable_reason
from dmlkernels.backends.triton.run import backward, forward, saved_shape, supports

__all__ = ["Forward", "Gradients", "Pairs", "backward", "forward", "saved_shape", "supports", "unavailable_reason"]
