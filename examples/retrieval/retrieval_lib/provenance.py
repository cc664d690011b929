"""What a result was made with: versions, commit, device."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import dmlkernels as dml
from retrieval_lib.data import transforms
from retrieval_lib.evaluation import search

PACKAGES = ("numpy", "pytorch-metric-learning", "scikit-learn", "timm", "torchvision", "triton")


def provenance(device: torch.device) -> dict[str, str]:
    """For the report, in words."""
    found = {
        "dmlkernels": dml.__version__,
        "commit": commit(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU ({platform.machine()})",
        "backends": ", ".join(name for name, usable in dml.available_backends().items() if usable),
        "transforms": transforms.implementation(),
        "search": search.implementation(),
    }
    return found | {name: _version(name) for name in PACKAGES}


def commit() -> str:
    """Of the repository around this file, marked if files differ from it."""
    folder = Path(__file__).parent
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
        changes = subprocess.run(
            ["git", "status", "--porcelain"], cwd=folder, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "not in a git repository"
    return head.stdout.strip()[:12] + (" with uncommitted changes" if changes.stdout.strip() else "")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
