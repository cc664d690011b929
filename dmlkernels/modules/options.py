"""A function's keyword arguments as the options of a module."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

_PER_CALL = (
    "proxy_labels",
    "sample_weight",
    "prior",
    "active",
    "centers_per_class",
    "validate",
    "process_group",
    "momentum",
)


def complete_options(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of ``function`` that are fixed for a module, with defaults filled in."""
    options = {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in _PER_CALL
    }
    for name in given:
        if name not in options:
            raise TypeError(f"{name}: not an option of {function.__name__}, expected some of {sorted(options)}")
    return {**options, **given}


def show_options(options: Mapping[str, Any]) -> str:
    """Format options for ``repr``."""
    return ", ".join(f"{name}={value!r}" for name, value in options.items())
