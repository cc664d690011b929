"""What the right answer to a case is: the dense reference in float64 where it fits, else ours after a check."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.harness.correctness import complaint
from benchmarks.harness.steps import BOTH
from benchmarks.problems.inputs import Case, Inputs, make_inputs
from benchmarks.problems.losses import TOLERANCES
from benchmarks.problems.variants import REFERENCE, make_step, ours

_DENSE_SCORES = 2**25  # 256 MiB a matrix in float64, of which the reference keeps several
_DENSE_COPIES = 20  # so many, on a GPU: of the field, which keeps most


class UntrustedError(RuntimeError):
    """Our own float64 path disagrees with the reference, so there is nothing to compare with."""


def truth(case: Case) -> list[Tensor]:
    """Loss and gradients in float64.

    Where the dense reference does not fit, ours in float64 stands in for it, once it has agreed with the reference
    on the same problem cut down to fewer samples and proxies.
    """
    on_gpu = torch.device(case.device).type == "cuda"
    if dense_scores(case) <= most_dense(case.device):
        return _outcome(case, REFERENCE)
    shape = case.shape
    small = replace(shape, batch=min(shape.batch, 96), proxies=min(shape.proxies, 1000 * shape.group))
    cut = replace(case, shape=small)
    mine = ours("triton" if on_gpu else "torch")
    wrong = complaint(_outcome(cut, mine), _outcome(cut, REFERENCE), 10 * TOLERANCES[torch.float64])
    if wrong:
        raise UntrustedError(f"ours in float64 is wrong on a part of the problem: {wrong}")
    return _outcome(case, mine)


def most_dense(device: str) -> int:
    """The largest score matrix of which the reference is asked."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info()[0] // (8 * _DENSE_COPIES)
    return _DENSE_SCORES


def dense_scores(case: Case) -> int:
    """Entries of the score matrix that a dense implementation makes."""
    shape = case.shape
    if case.loss in ("field", "fused"):
        return (shape.batch + shape.proxies) ** 2
    if case.loss == "decidability":
        return shape.batch**2
    if case.loss == "odba":
        return shape.batch * 64
    return shape.batch * shape.proxies * (2 if case.loss == "symmetric_kl" else 1)


def _outcome(case: Case, name: str) -> list[Tensor]:
    given = make_inputs(case)
    wide = Inputs(*(tensor.double() if tensor.is_floating_point() else tensor for tensor in given))
    return make_step(case, name, wide).outcome(BOTH)
