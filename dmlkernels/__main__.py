"""``python -m dmlkernels``: what a bug report should say."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import torch

import dmlkernels
from dmlkernels.backends import native


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _built(reason: str | None) -> str:
    return "built" if reason is None else f"NOT BUILT: {reason}"


def main() -> None:
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


if __name__ == "__main__":
    main()
