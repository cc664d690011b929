"""Make Triton's interpreter faster, with the same results, or like a GPU.

A launch patches triton.language, and restores it when it ends. Every call of a device function in between patches it
again, a third of all time. Another third goes into 64-bit sums and products that integers are compared with, for an
assertion that is only made when debugging.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import triton.language as tl
from triton.runtime import interpreter

from dmlkernels.backends.triton import run
from tests.triton.compiling import TARGETS

QUIET = pytest.mark.filterwarnings("ignore:(divide by zero|invalid value|overflow|All-NaN):RuntimeWarning")
"""NumPy warns where a GPU computes in silence: logarithms of empty sums, maxima of NaN."""
ADDRESS = np.dtype(np.uint64)
NOTHING_TO_RESTORE = SimpleNamespace(restore=lambda: None)


@cache
def speed_up() -> None:
    """Leave out the checks of overflow, and modules that the launch under way has patched."""
    cache_types()
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


def stand_in_for(target: str) -> None:
    """Take the tiles, types and precisions of a GPU, and add up products as one does."""
    architecture = TARGETS[target][1]
    run.architecture = lambda device: architecture
    interpreter.InterpreterBuilder.create_dot = dot_in_order


def dot_in_order(self: Any, a: Any, b: Any, total: Any, *options: Any) -> Any:
    """A GPU adds up a pair's products in an order of its own, 16 at a time; the interpreter's BLAS, in one that follows
    from the pair's place in the tile."""
    first, second, found = a.data.astype(np.float64), b.data.astype(np.float64), total.data
    for k in range(0, first.shape[-1], 16):
        found = (found + first[..., k : k + 16] @ second[..., k : k + 16, :]).astype(total.data.dtype)
    return interpreter.TensorHandle(found, total.dtype.scalar)


def restorer(scope: Any, patched: set[Any]) -> Any:
    def restore() -> None:
        scope.restore()
        patched.clear()

    return restore


@cache
def languages(fn: Any) -> frozenset[Any]:
    """The modules that a function sees and the interpreter patches."""
    return frozenset(value for value in fn.__globals__.values() if value is tl or value is tl.core)


def cache_types() -> None:
    """Describe shapes and types once, or when asked for: every tensor has some, a third of what is left."""
    core = tl.core
    numpy_type, size_of = cache(interpreter._get_np_dtype), cache(core.validate_block_shape)

    @cache
    def shape_of(sizes: tuple[int, ...]) -> Any:
        return core.tuple(sizes)

    @cache
    def constants_of(sizes: tuple[int, ...]) -> tuple[Any, Any]:
        return core.constexpr(math.prod(sizes)), core.tuple(core.constexpr(size) for size in sizes)

    def numpy_type_of(of: Any) -> Any:
        scalar = of.scalar
        return ADDRESS if scalar.is_ptr() else numpy_type(scalar)

    def init_tensor(self: Any, handle: Any, of: Any) -> None:
        self.handle, self.type, self.dtype = handle, of, of.scalar
        self.numel, self.shape = constants_of(tuple(of.shape) if of.is_block() else ())

    def init_block_type(self: Any, element_ty: Any, shape: Any) -> None:
        sizes = tuple(core._unwrap_if_constexpr(size) for size in core._unwrap_if_constexpr(shape))
        if not sizes:
            raise TypeError("0d block_type is forbidden")
        self.element_ty, self.shape, self.numel = element_ty, shape_of(sizes), size_of(sizes)
        self.name = f"<{sizes}, {element_ty}>"

    def init_tuple(self: Any, values: Any, of: Any = None) -> None:
        self.values = list(values)
        self._type = core.tuple_type(of) if of is not None and not isinstance(of, core.tuple_type) else of

    def type_of_tuple(self: Any) -> Any:
        if self._type is None:
            self._type = core._type_for_tuple_values(self.values)
        return self._type

    interpreter._get_np_dtype = numpy_type_of
    core.tensor.__init__, core.block_type.__init__, core.tuple.__init__ = init_tensor, init_block_type, init_tuple
    core.tuple.type = property(type_of_tuple, lambda self, of: setattr(self, "_type", of))
