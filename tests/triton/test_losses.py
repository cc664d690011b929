"""Public losses through the kernels, against the reference in float64, over the small cases of the hostile table."""

from __future__ import annotations

import pytest
import torch

from tests.cases import CASES, Case
from tests.conformance.evaluate import assert_close, errors, evaluate, ours, truth
from tests.conformance.test_gaps import check_gaps
from tests.conformance.test_ops import compiled, equal
from tests.conformance.test_sample_weight import TAKERS, check_gradient
from tests.losses import BRANCHES, CIRCLE, DECIDABILITY, EVERY, FIELD, FUSED, LOSSES, SHARING, WAYS, Loss
from tests.problem import NAMED, make_problem

BRANCH_CASES = ("unordered_proxies", "some_ignored")
SMALL = tuple(case for case in CASES if case.small)


def _pairs(losses: tuple[Loss, ...], cases: tuple[Case, ...]) -> pytest.MarkDecorator:
    wanted = [(loss, case) for loss in losses for case in cases if loss.applies(case)]
    return pytest.mark.parametrize(("loss", "case"), wanted, ids=str)


@pytest.mark.usefixtures("tiles_only")
@_pairs(WAYS, SMALL)
def test_float64(loss: Loss, case: Case) -> None:
    problem = make_problem(case)
    assert_close(ours(loss, problem, "triton"), truth(loss, problem), problem, loss.tolerance)


@pytest.mark.sampled(2)
@_pairs((*SHARING, *BRANCHES), tuple(NAMED[name] for name in BRANCH_CASES))
def test_branches(loss: Loss, case: Case) -> None:
    """With the closed form where it is cheaper."""
    problem = make_problem(case)
    assert_close(ours(loss, problem, "triton"), truth(loss, problem), problem, loss.tolerance)


@_pairs(tuple(TAKERS), (NAMED["some_ignored"],))
def test_gradient_of_the_weights_of_samples(loss: Loss, case: Case) -> None:
    check_gradient(loss, case, "triton")


@pytest.mark.sampled(4)
@pytest.mark.usefixtures("unchecked")
@_pairs(EVERY, tuple(NAMED[name] for name in BRANCH_CASES))
def test_labels_that_the_host_does_not_check(loss: Loss, case: Case) -> None:
    problem = make_problem(case)
    assert_close(ours(loss, problem, "triton"), truth(loss, problem), problem, loss.tolerance)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_compiles_into_one_graph(loss: Loss) -> None:
    torch._dynamo.reset()
    equal(loss, make_problem("some_ignored", torch.float32), compiled(loss, "triton", "aot_eager"), "triton")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("loss", EVERY, ids=str)
def test_labels_and_weights_with_gaps(loss: Loss) -> None:
    check_gaps(loss, "triton")


_NARROW = tuple(NAMED[name] for name in ("plain", "some_ignored", "clustered", "collapsed", "zero_rows", "sliced"))


@pytest.mark.sampled(2)
@pytest.mark.usefixtures("tiles_only")
@_pairs(LOSSES, (*_NARROW, NAMED["mixed_scales"]))
def test_float32(loss: Loss, case: Case) -> None:
    """No worse than dense torch in float32, and a little."""
    problem = make_problem(case, torch.float32)
    true = truth(loss, problem)
    found, dense = (
        errors(way, true, problem) for way in (ours(loss, problem, "triton"), evaluate(loss.truth, loss, problem))
    )
    slack = 1e-4 if loss in (FIELD, FUSED, CIRCLE) else 2e-5  # circle loss: a logit of 300 is rounded by 3e-5
    assert found.value <= dense.value + 1e-5
    for name in true.gradients:
        assert found.gradients[name] <= dense.gradients[name] + slack, name


@pytest.mark.sampled(2)
@pytest.mark.usefixtures("tiles_only")
@_pairs(LOSSES, _NARROW)
def test_float16(loss: Loss, case: Case) -> None:
    """The value is as good as float32's, gradients as good as float16 can say."""
    problem = make_problem(case, torch.float16)
    true = truth(loss, problem)
    found = errors(ours(loss, problem, "triton"), true, problem)
    assert found.value <= 1e-5
    for name, error in found.gradients.items():
        assert error <= torch.finfo(torch.float16).eps, name


def test_bfloat16_is_refused_by_the_interpreter() -> None:
    if torch.cuda.is_available():
        pytest.skip("runs on this device")
    with pytest.raises(TypeError, match="bfloat16"):
        ours(DECIDABILITY, make_problem("plain", torch.bfloat16), "triton")
