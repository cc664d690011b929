"""``python -m dmlkernels``: what a bug report should say; with ``estimate``, the memory and operations of losses."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

import dmlkernels
from dmlkernels.backends import native
from dmlkernels.estimate import Sizes, estimate, step_seconds

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
_COLUMNS = {"inputs": 10, "gradients": 11, "saved": 10, "work": 10, "B x C": 10, "GFLOP": 9}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _built(reason: str | None) -> str:
    return "built" if reason is None else f"NOT BUILT: {reason}"


def losses() -> dict[str, Callable[..., Any]]:
    """Every exported loss function by its name without "_loss"."""
    endings = ("_loss", "_penalty", "_objective")
    names = (name for name in dmlkernels.__all__ if name.endswith(endings))
    return {name.removesuffix("_loss"): getattr(dmlkernels, name) for name in names}


def show_versions() -> None:
    """Print versions, devices, what was built and what can run."""
    print(f"dmlkernels {dmlkernels.__version__}")
    print(f"python     {platform.python_version()} on {platform.platform()}")
    print(f"torch      {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"triton     {_version('triton')}")
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    print(f"gpu        {', '.join(devices) or 'none'}")
    print(f"native     for CPUs: {_built(native.module.reason)}")
    print(f"           for NVIDIA GPUs: {_built(native.cuda.module.reason)}")
    print("backends")
    for name, availability in dmlkernels.available_backends().items():
        print(f"  {name:7}  {availability}")
    print(f"  native, for CUDA tensors: {native.unavailable_reason('cuda') or 'available'}")


def show_estimate(arguments: Sequence[str]) -> None:
    """Print a line for each loss."""
    known = losses()
    parser = argparse.ArgumentParser(
        "python -m dmlkernels estimate",
        description="Memory and operations of a forward and a backward pass on a CPU, from shapes alone.",
        epilog="inputs: embeddings and proxies; gradients: of both; saved: kept for backward beyond the inputs; work: "
        "tiles and copies while a pass runs, about; B x C: one dense matrix of scores, of which plain PyTorch keeps "
        "three to five. An optimiser adds its own: Adam twice the proxies.",
    )
    parser.add_argument("--loss", choices=sorted(known), action="append", help="default: all of them")
    parser.add_argument("--batch", type=_positive, required=True)
    parser.add_argument("--classes", type=_positive, required=True)
    parser.add_argument("--dim", type=_positive, required=True)
    parser.add_argument("--proxies-per-class", type=_positive, default=1)
    parser.add_argument("--dtype", choices=_DTYPES, default="float32", help="of the embeddings")
    parser.add_argument("--backend", choices=("auto", "torch", "native"), default="auto")
    parser.add_argument("--measure", action="store_true", help="also run it here, and print the time of a step")
    given = parser.parse_args(arguments)
    sizes = Sizes(given.batch, given.classes, given.dim, given.proxies_per_class, _DTYPES[given.dtype])
    print(f"{'':20}" + "".join(f"{name:>{width}}" for name, width in _COLUMNS.items()) + "  step" * given.measure)
    for name in given.loss or known:
        found = estimate(known[name], sizes, given.backend)
        shown = [_size(size) for size in (found.inputs, found.gradients, found.saved, found.work, found.dense)]
        shown.append(f"{found.flops / 1e9:.3g}")
        cells = [f"{cell:>{width}}" for cell, width in zip(shown, _COLUMNS.values(), strict=True)]
        cells += [f"  {1e3 * step_seconds(known[name], sizes, given.backend):.3g} ms"] if given.measure else []
        cells += ["  closed form"] if found.closed_form else []
        print(f"{name:20}" + "".join(cells))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"got {number}, expected at least 1")
    return number


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} GiB" if size < 1e6 else f"{size:.1e} GiB"


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["estimate"]:
        show_estimate(arguments[1:])
    elif arguments:
        raise SystemExit(f"python -m dmlkernels: got {arguments[0]!r}, expected nothing or 'estimate'")
    else:
        show_versions()


if __name__ == "__main__":
    main()
