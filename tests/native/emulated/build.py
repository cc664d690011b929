"""Compile the emulated engine, once for all test processes and until a source changes.

In a process that the address sanitizer watches it is compiled for that, and for the undefined-behaviour sanitizer.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

_ROOT = Path(__file__).parents[3]
_EMULATION = Path(__file__).parent / "cuda"
_FLAGS = ("-std=c++17", "-g1", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-unknown-pragmas")
_DEFINITIONS = ("-DDML_CUDA", "-DDML_CUDA_EMULATED", "-U_FORTIFY_SOURCE")  # which forbids jumps between stacks
_SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
_NAME = "_emulated_cuda"


def load() -> ModuleType:
    """The engine as a module, or a skip that says what it lacks."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None or sys.platform != "linux":
        pytest.skip("there is no g++, or no Linux")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        pytest.skip("there are no Python headers")
    if not (_ROOT / "csrc" / "cuda").is_dir():
        pytest.skip("not run from a source tree")
    pybind11 = pytest.importorskip("pybind11")
    folder = _ROOT / "build" / "cuda_emulation" / _digest()
    library = folder / f"{_NAME}{sysconfig.get_config_var('EXT_SUFFIX')}"
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "lock"):
        if not library.exists():
            _compile(compiler, (pybind11.get_include(), sysconfig.get_path("include")), library)
    spec = importlib.util.spec_from_file_location(_NAME, library)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _compile(compiler: str, headers: tuple[str, ...], library: Path) -> None:
    folders = [f"-I{folder}" for folder in (*headers, str(_EMULATION), str(_ROOT / "csrc"))]
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}

    def compile_one(source: Path) -> str:
        made = library.parent / f"{source.name}.o"
        mode = (*_mode(), "-O0") if source.suffix == ".cpp" else _mode()
        command = [compiler, *_FLAGS, *mode, *_DEFINITIONS, *folders, "-x", "c++", "-c", str(source), "-o", str(made)]
        subprocess.run(command, env=environment, check=True)
        return str(made)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, _sources()))
    partial = library.with_suffix(".partial")
    subprocess.run([compiler, "-shared", *_mode(), *objects, "-o", str(partial)], env=environment, check=True)
    partial.rename(library)


def _mode() -> tuple[str, ...]:
    watched = hasattr(ctypes.CDLL(None), "__asan_init")
    return ("-O1", *_SANITIZERS) if watched else ("-O2",)


def _sources() -> list[Path]:
    engine = _ROOT / "csrc" / "cuda"
    return [*sorted(engine.glob("*.cu")), engine / "bindings.cpp", _EMULATION / "emulation.cpp"]


def _digest() -> str:
    digest = hashlib.sha256("".join(_FLAGS + _mode() + _DEFINITIONS).encode())
    for folder in (_ROOT / "csrc" / "cuda", _ROOT / "csrc" / "statistics", _EMULATION):
        for file in sorted(folder.iterdir()):
            digest.update(file.name.encode() + file.read_bytes())
    digest.update(sysconfig.get_config_var("EXT_SUFFIX").encode())
    return digest.hexdigest()[:16]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Tests run in several processes side by side: one builds, the others wait."""
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
