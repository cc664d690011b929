"""Make Triton's interpreter faster, with the same results.

A launch patches triton.language, and restores it when it ends. Every call of a device function in between patches it
again, a third of all time. Another third goes into 64-bit sums and products that integers are compared with, for an
assertion that is only made when debugging.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import triton.language as tl
from triton.runtime import interpreter

NOTHING_TO_RESTORE = SimpleNamespace(restore=lambda: None)


def speed_up() -> None:
    """Leave out the checks of overflow, and modules that the launch under way has patched."""
    builder = interpreter.interpreter_builder
    builder.options = replace(builder.options, sanitize_overflow=False)
    patch = interpreter._patch_lang
    patched: set[Any] = set()

    def patch_lang(fn: Any) -> Any:
        wanted = languages(fn)
        if wanted <= patched:
            return NOTHING_TO_RESTORE
        scope = patch(fn)
        if not patched:
            scope = SimpleNamespace(restore=restorer(scope, patched))
        patched.update(wanted)
        return scope

    interpreter._patch_lang = patch_lang


def restorer(scope: Any, patched: set[Any]) -> Any:
    def restore() -> None:
        scope.restore()
        patched.clear()

    return restore


@cache
def languages(fn: Any) -> frozenset[Any]:
    """The modules that a function sees and the interpreter patches."""
    return frozenset(value for value in fn.__globals__.values() if value is tl or value is tl.core)
