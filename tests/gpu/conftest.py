"""Everything here needs a CUDA or ROCm device and compiled kernels."""

from __future__ import annotations

import os

import torch

if not torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1":
    collect_ignore_glob = ["test_*.py"]
