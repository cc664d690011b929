"""Norms, positive cosines and what they give, by kernels: against PyTorch, over steps of training, compiled."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from dmlkernels import adaface_loss, curricularface_loss
from dmlkernels.backends.triton import margins
from dmlkernels.backends.triton.availability import interpreted
from dmlkernels.functional.cosines import unit_rows
from dmlkernels.ops import positive_cosines, row_norms
from dmlkernels.statistics import IGNORED
from tests.triton.compiling import TARGETS, compiled

CHECKS = ("test_schema", "test_faketensor", "test_aot_dispatch_static")
interprets = pytest.mark.skipif(not interpreted(), reason="needs TRITON_INTERPRET=1")


def samples(dtype: torch.dtype, count: int = 37, dim: int = 20) -> tuple[Tensor, Tensor]:
    """Of all scales, a row of zeros, and ignored rows that hold anything; every second number of their memory."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(count, 2 * dim, generator=generator, dtype=torch.float64)
    vectors *= torch.logspace(-3, 3, count, dtype=torch.float64)[:, None]
    vectors[1] = 0
    vectors[2], vectors[3] = torch.nan, torch.inf
    labels = torch.arange(count) % 9
    labels[2], labels[3] = IGNORED, IGNORED
    return vectors.to(dtype)[:, ::2], labels


@interprets
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16], ids=str)
def test_norms(dtype: torch.dtype) -> None:
    vectors, labels = samples(dtype)
    vectors = vectors.requires_grad_()
    found = row_norms(vectors, labels)
    kept = torch.where((labels != IGNORED)[:, None], vectors, 0)
    wide = torch.promote_types(dtype, torch.float32)
    expected = torch.linalg.vector_norm(kept, dim=1, dtype=wide)
    torch.testing.assert_close(found, expected)
    upstream = torch.linspace(-1, 1, found.shape[0], dtype=wide)
    (gradient,), (wanted,) = (torch.autograd.grad(norms, vectors, upstream) for norms in (found, expected))
    torch.testing.assert_close(gradient, wanted)


@interprets
def test_norms_of_numbers_whose_squares_overflow() -> None:
    vectors = torch.tensor([[3e200, 4e200], [3e-3, 4e-3]], dtype=torch.float64)
    found = row_norms(vectors, torch.zeros(2, dtype=torch.int64))
    torch.testing.assert_close(found, torch.tensor([5e200, 5e-3], dtype=torch.float64))
    assert row_norms(3e38 * torch.ones(1, 4), torch.zeros(1, dtype=torch.int64)).isinf().all()


@interprets
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16], ids=str)
def test_positive_cosines(dtype: torch.dtype) -> None:
    vectors, labels = samples(dtype)
    columns = torch.randn(9, 20, generator=torch.Generator().manual_seed(1)).double()
    columns[4] = 0
    labels[5], labels[6] = -1, 9
    found = positive_cosines(vectors, columns, labels)
    kept = torch.where((labels != IGNORED)[:, None], vectors, 0)
    expected = (unit_rows(kept, torch.float64) * unit_rows(columns[labels.clamp(0, 8)])).sum(1)
    torch.testing.assert_close(found, expected)


@interprets
def test_are_custom_ops() -> None:
    vectors, labels = samples(torch.float32)
    norms = row_norms(vectors, labels)
    vectors = vectors.contiguous().requires_grad_()
    dml, zero = torch.ops.dmlkernels, torch.zeros(())
    torch.library.opcheck(dml.row_norms, (vectors, labels), test_utils=CHECKS)
    torch.library.opcheck(dml.row_norms_backward, (norms, vectors.detach(), labels, norms), test_utils=CHECKS)
    torch.library.opcheck(dml.positive_cosines, (vectors.detach(), torch.randn(9, 20), labels), test_utils=CHECKS)
    numbers = [1e-3, 100.0, 1e-3, 0.3, 0.9, 0.0, 0.0]
    for running, update in ((None, False), (zero, True)):
        given = (norms, labels, running, running, numbers, False, False, update)
        torch.library.opcheck(dml.norm_quality, given, test_utils=CHECKS)
        given = (norms, labels, zero, running, numbers[:5], update)
        torch.library.opcheck(dml.curricular_values, given, test_utils=CHECKS)
    (gradient,) = torch.autograd.grad(row_norms(vectors, labels).sum(), vectors, create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        gradient.sum().backward()


def steps(call: Any, **running: float) -> tuple[list[Tensor], list[Tensor]]:
    """Losses and running values of three steps of either backend, of which the second is not finite."""
    losses, values = [], []
    for backend in ("triton", "torch"):
        kept = {name: torch.tensor(value) for name, value in running.items()}
        for step in range(3):
            generator = torch.Generator().manual_seed(step)
            x, w = (torch.randn(n, 6, generator=generator) for n in (8, 5))
            labels = torch.arange(8) % 5
            labels[1] = -100
            x[1] = torch.nan
            if step == 1:
                x[0, 0] = torch.inf
            losses.append(call(x, labels, w, momentum=0.75, backend=backend, **kept))
            values.append(torch.stack(list(kept.values())).clone())
    return losses, values


@interprets
@pytest.mark.parametrize(
    ("call", "running"),
    [(adaface_loss, {"norm_mean": 20.0, "norm_std": 100.0}), (curricularface_loss, {"hardness": 0.0})],
)
def test_running_values(call: Any, running: dict[str, float]) -> None:
    losses, values = steps(call, **running)
    torch.testing.assert_close(losses[:3], losses[3:], equal_nan=True)
    torch.testing.assert_close(values[:3], values[3:])
    # AdaFace holds an infinite norm at 100; a cosine of it is NaN, and moves nothing.
    assert torch.equal(values[0], values[1]) == (call is curricularface_loss)
    assert not torch.equal(values[1], values[2])


@interprets
@pytest.mark.parametrize("mean", [None, 3.0, torch.tensor(3.0)], ids=["batch", "number", "tensor"])
@pytest.mark.parametrize("std", [None, 0.5, torch.tensor(0.5)], ids=["batch", "number", "tensor"])
def test_given_norms(mean: Any, std: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randn(n, 6, generator=generator) for n in (8, 5))
    found, expected = (
        adaface_loss(x, torch.arange(8) % 5, w, norm_mean=mean, norm_std=std, backend=backend)
        for backend in ("triton", "torch")
    )
    torch.testing.assert_close(found, expected)


@interprets
def test_norms_are_float64_if_only_the_proxies_are() -> None:
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randn(n, 6, generator=generator) for n in (8, 5))
    found, expected = (
        adaface_loss(x, torch.arange(8) % 5, w.double(), backend=backend) for backend in ("triton", "torch")
    )
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@interprets
@pytest.mark.parametrize("hardness", [0.3, torch.tensor(0.3, dtype=torch.float64)], ids=["number", "tensor"])
def test_given_hardness(hardness: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randn(n, 6, generator=generator) for n in (8, 5))
    found, expected = (
        curricularface_loss(x, torch.arange(8) % 5, w, hardness=hardness, backend=backend)
        for backend in ("triton", "torch")
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.sampled(2)
@pytest.mark.skipif(interpreted(), reason="compiles")
@pytest.mark.parametrize("target", TARGETS)
def test_compiles(target: str) -> None:
    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    labels, one, numbers = empty(9, dtype=torch.int64), empty(), (0.0,) * 7
    with compiled(target) as found:
        for dtype in (torch.float32, torch.float64):
            vectors, norms = empty(9, 100, dtype=dtype), empty(9, dtype=dtype)
            margins.row_norms(vectors, labels)
            margins.row_norms_backward(norms, vectors, labels, norms)
            margins.positive_cosines(vectors, vectors, labels)
            margins.norm_quality(norms, labels, one, one, numbers, False, False, True)
            margins.norm_quality(norms, labels, None, None, numbers, False, True, False)
            margins.curricular_values(norms, labels, one, one, numbers[:5], True)
    assert len(found) == 12 and not any(one.spilled for one in found)
