"""Compile what the backend would launch, for a GPU that is not there, and read what the compiler made of it.

The launches are the real ones: ``compiled`` runs the backend on tensors without memory while a stub stands in for the
driver and every kernel stops after compilation.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from dmlkernels.backends.triton import launcher
from dmlkernels.backends.triton.plan import Architecture

TARGETS = {
    "sm_80": (GPUTarget("cuda", 80, 32), Architecture("cuda", 80, 108)),
    "sm_90": (GPUTarget("cuda", 90, 32), Architecture("cuda", 90)),
    "sm_100": (GPUTarget("cuda", 100, 32), Architecture("cuda", 100, 148)),
    "gfx942": (GPUTarget("hip", "gfx942", 64), Architecture("hip", multiprocessors=304)),
}
TENSOR_CORE = re.compile(r"\b(?:wgmma\.mma_async|tcgen05\.mma|mma\.sync|v_mfma_\w+)")
_TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


@dataclass(frozen=True)
class Compiled:
    """One kernel for one target."""

    kernel: str
    target: str
    registers: int
    spilled: int  # bytes a thread
    spilled_in_loops: int  # of these: those that a loop stores or loads; of AMD's, all
    shared: int  # bytes
    tensor_core: tuple[str, ...]  # instructions, of NVIDIA in PTX


class _NoDevice:
    """Driver enough to compile."""

    def __init__(self, target: GPUTarget) -> None:
        self._target = target

    def get_current_target(self) -> GPUTarget:
        return self._target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


@contextmanager
def launched(target: str) -> Iterator[list[tuple[str, Any, dict[str, Any], tuple[int, ...]]]]:
    """Within the block launches only compile; the list is of their names, kernels, keyword options and grids."""
    found: dict[str, tuple[str, Any, dict[str, Any], tuple[int, ...]]] = {}
    run = JITFunction.run

    def only_compile(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        kernel = run(self, *args, grid=grid, warmup=True, **options)
        if kernel.hash not in found:
            found[kernel.hash] = (self.__name__, kernel, options, grid)
            results.append(found[kernel.hash])
        return kernel

    results: list[tuple[str, Any, dict[str, Any], tuple[int, ...]]] = []
    previous = driver._active
    driver.set_active(_NoDevice(TARGETS[target][0]))
    try:
        with mock.patch.object(JITFunction, "run", only_compile), mock.patch.object(launcher, "_remembers", False):
            yield results
    finally:
        driver._active = previous
        for name in list(jit_functions()):
            name.device_caches.clear()


@contextmanager
def compiled(target: str) -> Iterator[list[Compiled]]:
    """The same; the list, once the block has ended, is what was compiled."""
    results: list[Compiled] = []
    with launched(target) as found:
        yield results
        results += [describe(name, target, kernel) for name, kernel, *_ in found]


def jit_functions() -> Iterator[JITFunction]:
    """All kernels, and the functions that they call."""
    from dmlkernels.backends.triton import formulas, kernels

    for package in (formulas, kernels):
        for info in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            for value in vars(importlib.import_module(info.name)).values():
                if isinstance(value, JITFunction):
                    yield value


def describe(name: str, target: str, kernel: Any) -> Compiled:
    """What a compiled kernel takes."""
    if target == "gfx942":
        return _describe_amd(name, target, kernel.asm["amdgcn"], kernel.metadata.shared)
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        cubin.write_bytes(kernel.asm["cubin"])
        found = re.findall(r"REG:(\d+) STACK:(\d+)", _run("cuobjdump", "-res-usage", str(cubin)))[-1]
        registers, spilled = int(found[0]), int(found[1])
        # Taking a kernel apart costs half as much as compiling it.
        in_loops = min(spilled, _spilled_in_loops(_run("cuobjdump", "-sass", str(cubin)))) if spilled else 0
    units = tuple(sorted(set(TENSOR_CORE.findall(kernel.asm["ptx"]))))
    return Compiled(name, target, registers, spilled, in_loops, kernel.metadata.shared, units)


def _describe_amd(name: str, target: str, code: str, shared: int) -> Compiled:
    def number(field: str) -> int:
        found = re.search(rf"\.{field}:\s*(\d+)", code)
        return int(found.group(1)) if found else 0

    spilled = number("private_segment_fixed_size")
    units = tuple(sorted(set(TENSOR_CORE.findall(code))))
    return Compiled(name, target, number("vgpr_count"), spilled, spilled, shared, units)


def _spilled_in_loops(code: str) -> int:
    """Bytes of the stack that SASS touches between a backward branch and where it leads."""
    lines = [(int(at, 16), text) for at, text in re.findall(r"/\*([0-9a-f]{4,})\*/\s+([^;]*);", code)]
    branches = [(at, int(to, 16)) for at, text in lines for to in re.findall(r"\bBRA\S* .*?(0x[0-9a-f]+)", text)]
    loops = [(to, at) for at, to in branches if to < at]
    places = set[int]()
    for at, text in lines:
        found = re.search(r"\b(?:LDL|STL)(\S*) .*?\[R1(?:\+(0x[0-9a-f]+))?\]", text)
        if found and any(begin <= at <= end for begin, end in loops):
            width = next((int(bits) // 8 for bits in ("128", "64") if f".{bits}" in found.group(1)), 4)
            start = int(found.group(2) or "0", 16)
            places |= set(range(start, start + width))
    return len(places)


def _run(tool: str, *arguments: str) -> str:
    return subprocess.run([_TOOLS / tool, *arguments], capture_output=True, text=True, check=True).stdout
