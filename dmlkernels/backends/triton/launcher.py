"""How kernels are launched: without a part of what Triton does again at every launch.

Triton compiles a kernel for its constants, and for the kind of every argument: its type and alignment, or that it is 1.
To find what it has compiled it writes all options as text and compares every global variable that the kernel reads.
Here it is looked up by the constants, and by the kinds of arguments that Triton's own function tells.
"""

from __future__ import annotations

from functools import cache, lru_cache
from itertools import repeat
from typing import Any

from triton.compiler import make_backend
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from dmlkernels.backends.triton.availability import triton_version

try:
    from triton.runtime.jit import native_specialize_impl as _kind_of
except ImportError:
    _kind_of = None

NEWEST_TRITON = (3, 9)  # whose launches were compared, as .ci/triton does; others find what they compiled by themselves
_remembers = _kind_of is not None and triton_version() <= NEWEST_TRITON
_Rules = tuple[tuple[bool, ...], tuple[bool, ...]]
_rules: dict[int, _Rules] = {}  # whether each argument of a kernel is compiled for its value, and for its alignment
_compiled: dict[tuple[Any, ...], tuple[Any, tuple[Any, ...]]] = {}


class Constants(dict[str, Any]):
    """Constants that a plan keeps. Equal is what is the same object: to compare values takes longer than a launch. So
    equal ones are the same object, see ``constants_of``: there are as many as kernels are compiled for."""

    __hash__ = object.__hash__  # type: ignore[assignment]
    __eq__ = object.__eq__
    __ne__ = object.__ne__


def constants_of(values: dict[str, Any]) -> Constants:
    """These constants, always as the same object."""
    return _known.setdefault(tuple(values.items()), Constants(values))


_known: dict[tuple[tuple[str, Any], ...], Constants] = {}
_NONE = constants_of({})


@cache
def joined(first: Constants, second: Constants) -> Constants:
    """Both together."""
    return constants_of({**first, **second})


def launch(kernel: Any, grid: tuple[int, ...], *args: Any, constants: Constants = _NONE, **more: Any) -> None:
    """Launch a kernel.

    Args:
        kernel: whose constants are its last parameters.
        grid: programs along one to three axes.
        args: all other arguments.
        constants: by name, and options of the compiler such as ``num_warps``.
        more: of the same.
    """
    more["enable_fp_fusion"] = True  # the default up to Triton 3.9, which wants it said
    if not _remembers or type(kernel) is not JITFunction:  # interpreted, for one
        kernel[grid](*args, **constants, **more)
        return
    device = driver.active.get_current_device()
    # Kernels are never freed, and their hash is one of their text.
    kinds = map(_kind_of, repeat(_backend(device)), args, repeat(False), *(_rules.get(id(kernel)) or _find(kernel)))
    key = (id(kernel), constants, device, *more, *more.values(), *kinds)
    known = _compiled.get(key)
    if known is None:
        compiled = kernel[grid](*args, **constants, **more)
        given = {**constants, **more}
        _compiled[key] = compiled, tuple(given[name] for name in kernel.arg_names[len(args) :])
    else:
        compiled, values = known
        compiled[(*grid, 1, 1)](*args, *values, stream=driver.active.get_current_stream(device))


@lru_cache
def _backend(device: int) -> Any:
    """What Triton's function asks about a device."""
    return make_backend(driver.active.get_current_target())


def _find(kernel: Any) -> _Rules:
    """Find out the rules of a kernel."""
    arguments = [parameter for parameter in kernel.params if not parameter.is_constexpr]
    rules = _rules[id(kernel)] = (
        tuple(not one.do_not_specialize for one in arguments),
        tuple(not one.do_not_specialize_on_alignment for one in arguments),
    )
    return rules
