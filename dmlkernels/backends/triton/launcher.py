"""How kernels are launched: without a part of what Triton does again at every launch.

Triton compiles a kernel for its constants, and for the kind of every argument: its type and alignment, or that it is 1.
To find what it has compiled it writes all options as text and compares every global variable that the kernel reads.
Here it is looked up by the constants themselves, and by the kinds that Triton's own function tells.
"""

from __future__ import annotations

from functools import lru_cache
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
_compiled: dict[tuple[Any, ...], tuple[Any, tuple[Any, ...]]] = {}


def launch(kernel: Any, grid: tuple[int, ...], *args: Any, **constants: Any) -> None:
    """Launch a kernel.

    Args:
        kernel: whose constants are its last parameters.
        grid: programs along one to three axes.
        args: all other arguments.
        constants: by name, and options of the compiler such as ``num_warps``.
    """
    constants["enable_fp_fusion"] = True  # the default up to Triton 3.9, which wants it said
    if not _remembers or type(kernel) is not JITFunction:  # interpreted, for one
        kernel[grid](*args, **constants)
        return
    device = driver.active.get_current_device()
    backend = _backend(device)
    kinds = [_kind_of(backend, arg, False, *rule) for arg, rule in zip(args, _rules(kernel), strict=True)]
    key = (kernel, device, *constants, *constants.values(), *kinds)
    known = _compiled.get(key)
    if known is None:
        compiled = kernel[grid](*args, **constants)
        _compiled[key] = compiled, tuple(constants[name] for name in kernel.arg_names[len(args) :])
    else:
        compiled, values = known
        compiled[(*grid, 1, 1)](*args, *values)


@lru_cache
def _backend(device: int) -> Any:
    """What Triton's function asks about a device."""
    return make_backend(driver.active.get_current_target())


@lru_cache
def _rules(kernel: Any) -> tuple[tuple[bool, bool], ...]:
    """Whether each argument is compiled for its value, and for its alignment."""
    arguments = [parameter for parameter in kernel.params if not parameter.is_constexpr]
    return tuple((not one.do_not_specialize, not one.do_not_specialize_on_alignment) for one in arguments)
