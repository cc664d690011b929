import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from dmlkernels.backends import native
from dmlkernels.backends.blocked import normalise as blocked_normalise
from dmlkernels.backends.native import norms

built = pytest.mark.skipif(native.unavailable_reason() is not None, reason=str(native.unavailable_reason()))


def inverse_norms(x: Tensor) -> Tensor:
    unit, inverse = norms.normalise(x, x.dtype)
    moderate = ~(x.detach().norm(dim=1) > 2.0**40)  # beyond it rows are first multiplied by a power of two
    product = x.detach() * inverse[:, None]
    torch.testing.assert_close(unit[moderate], product[moderate], rtol=0, atol=0, equal_nan=True)
    return inverse


def expected(x: Tensor) -> Tensor:
    return (1 / x.double().norm(dim=1).clamp_min(1e-12)).to(x.dtype)


def test_built_where_the_build_was_required() -> None:
    if os.environ.get("DMLKERNELS_NATIVE") != "1":
        pytest.skip("DMLKERNELS_NATIVE is not 1")
    assert native.unavailable_reason() is None


@built
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (7, 31), (5, 32), (5, 33), (2, 100), (300, 512), (4, 0), (0, 8)])
def test_equals_torch(shape: tuple[int, int], dtype: torch.dtype) -> None:
    x = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(inverse_norms(x), expected(x), rtol=torch.finfo(dtype).eps * 4, atol=0)


@built
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_strided_and_expanded_rows(dtype: torch.dtype) -> None:
    wide = torch.randn(40, 96, dtype=dtype)
    tolerance = {"rtol": torch.finfo(dtype).eps * 4, "atol": 0}
    for x in (wide[::3, 5:70], wide[:, :1], wide[:1].expand(6, 96)):
        torch.testing.assert_close(inverse_norms(x), expected(x), **tolerance)


@built
def test_zero_tiny_huge_and_non_finite_rows() -> None:
    x = torch.tensor([[0.0, 0.0], [1e-30, 0.0], [3e38, 3e38], [float("nan"), 1.0], [float("inf"), 1.0]])
    r = inverse_norms(x)
    torch.testing.assert_close(r[:2], torch.full((2,), 1e12))
    torch.testing.assert_close(r[2], torch.tensor(1 / (3e38 * 2**0.5), dtype=torch.float64).float())
    assert r[3:].isnan().all()


@built
def test_bits_do_not_depend_on_the_thread_count(threads: int) -> None:
    x = torch.randn(5000, 130)
    results = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        results.append(inverse_norms(x))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@built
def test_input_is_not_changed_and_needs_no_detach() -> None:
    x = torch.randn(10, 8, requires_grad=True)
    before = x.detach().clone()
    assert not inverse_norms(x).requires_grad
    assert torch.equal(x.detach(), before)


@built
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(9, 33), (2, 9, 33)])
def test_twin_of_the_torch_version(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    block = torch.randn(shape).to(dtype)
    block[..., 3, :] = 0
    unit, inverse = norms.normalise(block, torch.float64)
    expected_unit, expected_inverse = blocked_normalise.normalise(block, torch.float64)
    torch.testing.assert_close((unit, inverse), (expected_unit, expected_inverse))
    gradient = torch.randn(shape, dtype=torch.float64)
    found = norms.normalisation_backward(unit, inverse, gradient.clone())
    torch.testing.assert_close(found, blocked_normalise.normalisation_backward(unit, inverse, gradient.clone()))
    assert not found[..., 3, :].any()


@built
def test_transposed_rows() -> None:
    x = torch.randn(33, 9).T
    torch.testing.assert_close(inverse_norms(x), expected(x))


@built
def test_runs_in_a_process_without_torch() -> None:
    """One build for every torch: nothing of torch is linked, and without its threads the module uses its own."""
    script = """
import array, importlib.util, math, sys
spec = importlib.util.spec_from_file_location("dmlkernels._native", sys.argv[1])
native = importlib.util.module_from_spec(spec)
spec.loader.exec_module(native)
rows, dim = 4000, 100
x = array.array("d", [1 + k % 7 for k in range(rows * dim)])
unit, out = array.array("d", bytes(8 * rows * dim)), array.array("d", bytes(8 * rows))
native.normalise_float64(*(a.buffer_info()[0] for a in (x, unit, out)), rows, dim, dim, 4)
for i in range(rows):
    assert math.isclose(out[i], 1 / math.hypot(*x[i * dim : (i + 1) * dim]), rel_tol=1e-14), i
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script, str(native.module.compiled.__file__)], check=True)


def test_without_the_module_it_says_why() -> None:
    script = """
import sys
sys.modules["dmlkernels._native"] = None
import torch
from dmlkernels.backends import native
from dmlkernels.backends.blocked import normalise as blocked_normalise
from dmlkernels.backends.native import norms
assert "not in this installation" in native.unavailable_reason()
import dmlkernels as dml
try:
    dml.pd_loss(torch.eye(2), torch.tensor([0, 1]), torch.eye(2), backend="native")
except RuntimeError as error:
    assert "DMLKERNELS_NATIVE=1" in str(error)
else:
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@built
@pytest.mark.parametrize(("dtype", "top"), [(torch.float32, 3e38), (torch.float64, 1.7e308)])
def test_the_largest_rows_have_unit_rows(dtype: torch.dtype, top: float) -> None:
    x = torch.randn(6, 70, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = x / x.norm(dim=1, keepdim=True)
    huge = (x / x.abs().amax(1, keepdim=True) * top).to(dtype)
    for normalise in (norms.normalise, blocked_normalise.normalise):
        unit, inverse = normalise(huge, dtype)
        torch.testing.assert_close(unit.double(), expected, rtol=0, atol=4 * torch.finfo(dtype).eps)
        assert (inverse >= 0).all() and inverse.isfinite().all()
