"""Backends by name, whether each can run, and the choice among them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dmlkernels.backends import blocked, native, triton
from dmlkernels.backends.formulas import Formulas
from dmlkernels.backends.native import formulas as native_formulas
from dmlkernels.backends.pairs import Backend
from dmlkernels.backends.triton import formulas as triton_formulas

_BACKENDS: dict[str, Backend] = {"torch": blocked, "triton": triton, "native": native}
_NAMES = ("torch", "triton", "native")
_blocks: list[list[str]] = []  # of ``use_backend``, that have not ended: the names of their backends
_default = "auto"  # a plain global: torch.compile guards on it, and cannot trace a context variable


@dataclass(frozen=True)
class Availability:
    """Whether a backend can run here; true or false like a bool, with the ``reason`` when it cannot."""

    available: bool
    reason: str = ""

    def __bool__(self) -> bool:
        return self.available

    def __str__(self) -> str:
        return "available" if self.available else f"not available: {self.reason}"


def available_backends() -> dict[str, Availability]:
    """Which backends can run in this process, and for each that cannot, why.

    Example:
        >>> import dmlkernels as dml
        >>> bool(dml.available_backends()["torch"])
        True
    """
    return {name: _availability(name) for name in _NAMES}


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Make ``name`` the default backend of the process within a block.

    Args:
        name: "auto", "torch", "triton" or "native".

    Raises:
        ValueError: the name is none of these.
        RuntimeError: that backend cannot run here.

    Example:
        >>> import dmlkernels as dml
        >>> with dml.use_backend("torch"):
        ...     pass
    """
    global _default
    _require(name)
    block = [name]
    _blocks.append(block)
    _default = name
    try:
        yield
    finally:  # those of two threads may overlap
        _blocks[:] = [other for other in _blocks if other is not block]
        _default = _blocks[-1][0] if _blocks else "auto"


def resolve(name: str, device_type: str, statistic: str | None = None) -> str:
    """Choose the backend of a call on this kind of device.

    Args:
        name: what the caller asked for; "auto" takes the fastest backend that can run and has the statistic.
        device_type: as in ``torch.device.type``.
        statistic: name of the statistic to compute, if one is.

    Raises:
        ValueError: there is no such backend, or it does not have the statistic.
        RuntimeError: it cannot run here.
    """
    return _choose(_default if name == "auto" else name, device_type, statistic)


def _choose(name: str, device_type: str, statistic: str | None) -> str:
    if name != "auto":
        _require(name, device_type)
        if statistic is not None and not get(name).supports(statistic):
            able = ("auto", *(other for other in _NAMES if _availability(other) and get(other).supports(statistic)))
            raise ValueError(f"backend: {name!r} does not have the statistic {statistic!r}, expected one of {able}")
        return name
    for name in _preferred(device_type):
        if statistic is None or get(name).supports(statistic):
            return name
    return "torch"


def _preferred(device_type: str) -> Iterator[str]:
    """Backends that are faster than torch on this kind of device, the fastest first."""
    if device_type == "cuda":
        yield from (name for name in ("triton", "native") if _availability(name, device_type))
    elif device_type == "cpu":
        native.warn_if_missing()
        if native.preferred():
            yield "native"


# What torch.compiler.assume_constant_result sets, which would import the compiler with this package.
_choose._dynamo_marked_constant = True  # type: ignore[attr-defined]


def get(name: str) -> Backend:
    """The backend of this name."""
    return _BACKENDS[name]


def formulas_of(name: str, device_type: str) -> Formulas | None:
    """What evaluates formulas of a backend's statistics on this kind of device, if PyTorch does not."""
    if name == "triton":
        return triton_formulas
    return native_formulas if name == "native" and device_type == "cpu" else None


def _require(name: str, device_type: str | None = None) -> None:
    if name != "auto" and name not in _NAMES:
        raise ValueError(f"backend: got {name!r}, expected one of {('auto', *_NAMES)}")
    if name != "auto" and not (availability := _availability(name, device_type)):
        raise RuntimeError(f"backend {name!r} cannot run: {availability.reason}")


def _availability(name: str, device_type: str | None = None) -> Availability:
    """Whether a backend can run on this kind of device; None stands for any device of this machine."""
    missing = None
    if name == "triton":
        missing = triton.unavailable_reason(device_type)
    elif name == "native":
        missing = native.unavailable_reason(device_type)
    return Availability(missing is None, missing or "")
