"""Exact, fast and memory-light losses for proxy-based deep metric learning in PyTorch."""

from dmlkernels.backends import available_backends, use_backend
from dmlkernels.functional.decidability import decidability, decidability_loss, pd_loss
from dmlkernels.functional.validation import validation

__all__ = [
    "available_backends",
    "decidability",
    "decidability_loss",
    "pd_loss",
    "use_backend",
    "validation",
]
