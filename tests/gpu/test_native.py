"""The native CUDA engine on the device: the emulated engine's tests, and what only a device shows."""

from __future__ import annotations

import pytest
import torch

import dmlkernels as dml
from dmlkernels.backends import native
from dmlkernels.backends.blocked import closed_form
from tests.cases import CASES, Case
from tests.conformance.evaluate import Outcome, assert_close, errors, evaluate, factor_like, truth
from tests.conformance.test_precision import is_determined
from tests.gpu import checks
from tests.gpu.common import SIZES, made
from tests.losses import LOSSES, Loss
from tests.problem import Problem, make_problem
from tests.triton.common import KINDS, outcome, upstream

pytestmark = pytest.mark.skipif(native.unavailable_reason("cuda") is not None, reason="no native CUDA engine")

each_kind = pytest.mark.parametrize("kind", KINDS)
each_type = pytest.mark.parametrize("dtype", checks.TOLERANCE, ids=str)
each_case = pytest.mark.parametrize(
    ("loss", "case"), [(loss, case) for loss in LOSSES for case in CASES if loss.applies(case)], ids=str
)


@pytest.fixture(autouse=True)
def tiles_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed_form, "supports", lambda pairs: False)


@each_kind
@each_type
@pytest.mark.parametrize("size", SIZES)
def test_accuracy(kind: str, size: str, dtype: torch.dtype) -> None:
    checks.accuracy(kind, size, dtype, "native")


@each_kind
@pytest.mark.parametrize("size", ["small", "medium"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_twenty_runs_give_the_same_bits(kind: str, size: str, dtype: torch.dtype) -> None:
    checks.twenty_runs_give_the_same_bits(kind, size, dtype, "native")


@each_case
def test_every_case(loss: Loss, case: Case) -> None:
    problem = make_problem(case)
    assert_close(_on_device(loss, problem), truth(loss, problem), problem, loss.tolerance)


@each_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_every_case_in_lower_precision(loss: Loss, case: Case, dtype: torch.dtype) -> None:
    if not is_determined(loss, case) or case.dim == 1 or not (case.fits_half or dtype == torch.float32):
        pytest.skip("nothing but rounding errors, or out of range")
    problem = make_problem(case, dtype)
    true = truth(loss, problem)
    found = errors(_on_device(loss, problem), true, problem)
    if dtype == torch.float32:
        dense = errors(evaluate(loss.truth, loss, problem), true, problem)
        assert found.value <= dense.value + 1e-5
        assert all(error <= dense.gradients[name] + 2e-4 for name, error in found.gradients.items())
    else:
        assert found.value <= 1e-5
        assert all(error <= 2.5 * torch.finfo(dtype).eps for error in found.gradients.values())


@each_kind
def test_one_kernel_a_pass_for_small_problems(kind: str) -> None:
    pairs = made(kind, "small", torch.bfloat16)
    outcome("native", pairs, upstream(pairs))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        outcome("native", pairs, upstream(pairs))
        torch.cuda.synchronize()
    names = [event.name for event in profile.events() if "dml::cuda" in event.name]
    assert sorted(name.split("<")[0].split("::")[-1] for name in names) == ["backward_kernel", "forward_kernel"]


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_graph_capture_and_no_wait(loss: Loss) -> None:
    checks.host_never_waits(loss, "native")
    checks.graph_capture_and_replay(loss, "native")


def test_two_million_columns() -> None:
    checks.two_million_columns(torch.bfloat16, 128, "native")


def test_native_is_available() -> None:
    assert dml.available_backends()["native"]


def _on_device(loss: Loss, problem: Problem) -> Outcome:
    moved = checks.on_device(loss, problem)
    leaves = {name: getattr(moved, name) for name in loss.leaves}
    value = loss(moved, "native")
    factor = factor_like(value.detach().cpu()).to(value.device)
    found = torch.autograd.grad(value, list(leaves.values()), factor)
    return Outcome(value.detach().cpu(), {name: gradient.cpu() for name, gradient in zip(leaves, found, strict=True)})
