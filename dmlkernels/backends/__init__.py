"""Backends, which of them can run here, and which one a call gets."""

from dmlkernels.backends.pairs import Backend, Forward, Gradients, Pairs
from dmlkernels.backends.registry import Availability, available_backends, formulas_of, get, resolve, use_backend

__all__ = [
    "Availability",
    "Backend",
    "Forward",
    "Gradients",
    "Pairs",
    "available_backends",
    "formulas_of",
    "get",
    "resolve",
    "use_backend",
]
