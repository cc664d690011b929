"""Settings of all tests."""

from __future__ import annotations

import torch

# Tests run side by side, a process a core, on small tensors: more threads would only wait for each other.
torch.set_num_threads(1)
