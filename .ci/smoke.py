"""Checks an installed wheel from outside the source tree: python smoke.py native|pure."""

import math
import sys
from pathlib import Path

import torch

import dmlkernels as dml
from dmlkernels.backends import native
from dmlkernels.backends.native import norms

expect_native = {"native": True, "pure": False}[sys.argv[1]]

assert "site-packages" in Path(dml.__file__).parts, dml.__file__
assert (native.unavailable_reason() is None) == expect_native, native.unavailable_reason()
if expect_native:
    unit, _ = norms.normalise(torch.tensor([[3.0, 4.0]]), torch.float32)
    torch.testing.assert_close(unit, torch.tensor([[0.6, 0.8]]))

# Worked by hand: genuine 0.6, 1, 1 and impostor 0.8, 0, 0 give d'^2 = 4.05, and the loss is -log(d'^2 / 2) / 2.
embeddings = torch.tensor([[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]], dtype=torch.float64, requires_grad=True)
proxies = torch.tensor([[1.0, 0.0], [0.0, 5.0]], dtype=torch.float64, requires_grad=True)
loss = dml.pd_loss(embeddings, torch.tensor([0, 1, 0]), proxies, eps=0.0)
assert math.isclose(loss.item(), -math.log(4.05 / 2) / 2, rel_tol=1e-12), loss
loss.backward()
assert embeddings.grad is not None
assert proxies.grad is not None
print(f"{sys.argv[1]} wheel of dmlkernels {dml.__version__}: pd_loss = {loss.item():.7f}")
