"""The conformance suite's losses and cases, through the emulated engine."""

from __future__ import annotations

import pytest
import torch

from tests.cases import CASES, Case
from tests.conformance.evaluate import errors, evaluate, ours, truth
from tests.conformance.test_gaps import check_gaps
from tests.conformance.test_precision import is_determined
from tests.conformance.test_values import BRANCH_CASES, check
from tests.losses import BRANCHES, FIELD, FUSED, WAYS, Loss
from tests.problem import NAMED, make_problem

PRECISION_CASES = tuple(
    NAMED[name]
    for name in (
        "plain", "dim_130", "late_positives", "some_ignored", "unordered_proxies", "tiles_33_65_17", "clustered",
        "collapsed", "duplicates", "on_proxies", "zero_rows", "sliced", "offset", "expanded",
    )
)  # fmt: skip
SCALES = ("huge", "tiny", "mixed_scales")
VALUE = 1e-5
GRADIENT, FIELD_GRADIENT = 5e-5, 2e-4  # float32, beyond dense float32's
HALF_GRADIENT = 2.5  # units in the last place: slopes are rounded to the type, and so is the result


def _pairs(cases: tuple[Case, ...], losses: tuple[Loss, ...] = WAYS) -> list[tuple[Loss, Case]]:
    return [(loss, case) for loss in losses for case in cases if loss.applies(case)]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("loss", "case"), _pairs(tuple(case for case in CASES if case.name != "large")), ids=str)
def test_every_case(loss: Loss, case: Case) -> None:
    check(loss, case, "native")


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("loss", "case"), _pairs(tuple(NAMED[name] for name in BRANCH_CASES), BRANCHES), ids=str)
def test_every_branch(loss: Loss, case: Case) -> None:
    check(loss, case, "native")


@pytest.mark.parametrize("loss", [*WAYS, *BRANCHES], ids=str)
def test_labels_and_weights_with_gaps(loss: Loss) -> None:
    check_gaps(loss, "native")


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("loss", "case"), _pairs((*PRECISION_CASES, *(NAMED[name] for name in SCALES))), ids=str)
def test_float32(loss: Loss, case: Case) -> None:
    if not is_determined(loss, case):
        pytest.skip("rounding errors over sqrt(eps)")
    problem = make_problem(case, torch.float32)
    true = truth(loss, problem)
    found = errors(ours(loss, problem, "native"), true, problem)
    dense = errors(evaluate(loss.truth, loss, problem), true, problem)
    assert found.value <= dense.value + VALUE
    for name in true.gradients:
        slack = FIELD_GRADIENT if loss in (FIELD, FUSED) else GRADIENT
        assert found.gradients[name] <= dense.gradients[name] + slack, name


@pytest.mark.sampled(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("loss", "case"), _pairs(PRECISION_CASES), ids=str)
def test_half(loss: Loss, case: Case, dtype: torch.dtype) -> None:
    if not is_determined(loss, case):
        pytest.skip("rounding errors over sqrt(eps)")
    problem = make_problem(case, dtype)
    true = truth(loss, problem)
    found = errors(ours(loss, problem, "native"), true, problem)
    assert found.value <= VALUE
    for name, error in found.gradients.items():
        assert error <= HALF_GRADIENT * torch.finfo(dtype).eps, name
