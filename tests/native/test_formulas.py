"""Formulas of row statistics, compiled: what plain PyTorch says in float64, at the ends of their ranges and for many
rows. That every loss is right with them, the conformance suite sees."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dmlkernels.backends import native
from dmlkernels.backends.formulas import _OTHER_KINDS, Loss, LossGradient, memory
from dmlkernels.backends.native import formulas, module
from dmlkernels.functional.adaface import _turned
from dmlkernels.functional.angles import add_angle, angle_numbers
from dmlkernels.functional.decidability import FORMS, decidability_objective
from dmlkernels.statistics import IGNORED
from tests.conformance.spy import watched
from tests.losses import ADAFACE, ANCHOR, ARCFACE, CIRCLE, MAGFACE, NCA, PD, SOFT_TRIPLE, SOFTMAX
from tests.losses import Loss as Named
from tests.problem import make_problem

pytestmark = pytest.mark.skipif(
    native.unavailable_reason() is not None, reason=native.unavailable_reason() or "the native module is here"
)

BENT = (8.0, *angle_numbers(0.5))
OF_ROWS: dict[str, tuple[tuple[float, ...], Callable[[Tensor], Tensor]]] = {
    "cross_entropy": ((0.3,), lambda s: F.softplus(s[:, 1] - s[:, 0] + 0.3, threshold=50)),
    "angle": (BENT, lambda s: F.softplus(s[:, 1] - 8 * add_angle(s[:, 0] / 8, 0.5), threshold=50)),
    "difference": ((), lambda s: s[:, 1] - s[:, 0]),
    "joint": ((), lambda s: F.softplus(s[:, 1] + s[:, 0], threshold=50)),
    "last": ((0.7,), lambda s: 0.7 * s[:, 1]),
}


def evaluate(
    formula: str,
    numbers: tuple[float, ...],
    statistics: Tensor,
    weight: Tensor | None = None,
    labels: Tensor | None = None,
    mean: bool = True,
    values: Tensor | None = None,
    of_values: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The loss, and three times the gradient of the statistics, and ``of_values``."""
    made = memory(formula, statistics, statistics.dtype)
    wanted = Loss(formula, numbers, values, None, labels, weight, None, mean, *made)
    formulas.evaluate(wanted, statistics)
    three = torch.full_like(wanted.loss, 3.0)
    return wanted.loss, formulas.backward(
        LossGradient(formula, numbers, values, labels, weight, wanted.state, three, of_values), statistics
    )


def test_both_engines_have_every_formula() -> None:
    rows = pytest.importorskip("dmlkernels.backends.triton.formulas.rows", exc_type=ImportError)
    of_all_rows = {name for name in _OTHER_KINDS if name not in rows.ROW_FORMULAS}
    assert set(module.compiled.FormulaKind.__members__) == of_all_rows | set(rows.ROW_FORMULAS)


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("rows", [1, 7, 3000, 70_000])
@pytest.mark.parametrize("name", OF_ROWS)
def test_of_rows(name: str, rows: int, mean: bool) -> None:
    """With weights, and among ignored rows, which may hold anything."""
    numbers, plain = OF_ROWS[name]
    torch.manual_seed(rows)
    statistics = (4 * torch.randn(rows, 2, dtype=torch.float64)).clamp(-7.9, 7.9).requires_grad_()
    weight, labels = torch.rand(rows, dtype=torch.float64), torch.randint(5, (rows,))
    labels[1::3] = IGNORED
    given = statistics.detach().clone()
    given[labels == IGNORED], weight[labels == IGNORED] = torch.nan, torch.nan
    loss, gradient = evaluate(name, numbers, given, weight, labels, mean)
    counted = torch.where(labels == IGNORED, 0, weight)
    expected = (plain(statistics) * counted).sum() / (counted.sum() if mean else 1)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(gradient, torch.autograd.grad(3 * expected, statistics)[0], rtol=1e-12, atol=1e-15)


def _of_quality(s: Tensor, quality: Tensor) -> Tensor:
    """AdaFace's loss of rows, at a margin of 0.5."""
    cosine = _turned(s[:, 0] / 8, -0.5 * quality)
    return F.softplus(s[:, 1] - 8 * (cosine - 0.5 * (1 + quality)), threshold=50)


def _of_norm(s: Tensor, norm: Tensor) -> Tensor:
    """MagFace's, with margins from 0.3 to 2.7 radians for norms from 10 to 110."""
    held = norm.clamp(10, 110)
    logit = 8 * add_angle(s[:, 0] / 8, 0.3 + 0.024 * (held - 10))
    return F.softplus(s[:, 1] - logit, threshold=50) + 35 * (held / 110**2 + 1 / held)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", ["turned", "magnified"])
def test_of_rows_with_a_value_each(name: str, dtype: torch.dtype) -> None:
    """In the type of the statistics or another, over all of its range and of the cosines'; of ignored rows 0."""
    numbers, plain, low, high = {
        "turned": ((8.0, 0.5, 1e-3, math.cos(1e-3)), _of_quality, -1, 1),
        "magnified": ((8.0, 10.0, 110.0, 0.3, 0.024, 35.0), _of_norm, 5, 120),
    }[name]
    torch.manual_seed(0)
    statistics = torch.stack((8 * torch.linspace(-1, 1, 3001).double(), 4 * torch.randn(3001).double()), 1)
    values = (low + (high - low) * torch.rand(3001, dtype=dtype)).requires_grad_()
    labels = torch.randint(5, (3001,))
    labels[::3] = IGNORED
    leaf, counts = statistics.clone().requires_grad_(), labels != IGNORED
    expected = plain(leaf[counts], values.double()[counts]).mean()
    of_statistics, of_values = torch.autograd.grad(3 * expected, (leaf, values))
    found = torch.full_like(values[:, None], torch.nan)
    given = {"values": values.detach()[:, None], "of_values": found if name == "magnified" else None}
    loss, gradient = evaluate(name, numbers, statistics, labels=labels, **given)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(gradient, of_statistics, rtol=1e-9, atol=1e-13)
    if name == "magnified":
        torch.testing.assert_close(found[:, 0], of_values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_small_and_large_values_keep_their_digits(dtype: torch.dtype) -> None:
    for x in (-700.0, -80.0, -20.0, -1.0, -1e-3, 0.0, 1e-3, 0.7, 20.0, 700.0, torch.inf, torch.nan):
        value = torch.tensor(x, dtype=dtype)
        loss, gradient = evaluate("cross_entropy", (0.0,), torch.stack((torch.zeros_like(value), value))[None])
        wide, info = value.double(), torch.finfo(dtype)
        expected = torch.where(wide > 0, wide, 0 * wide) + (-wide.abs()).exp().log1p()
        close = {"rtol": 2 * info.eps, "atol": info.tiny, "equal_nan": True}
        torch.testing.assert_close(loss.double(), expected, **close)
        torch.testing.assert_close(gradient[0, 1].double() / 3, wide.sigmoid(), **close)


def test_proxies_without_positives_have_no_pull() -> None:
    statistics = torch.randn(2500, 2, dtype=torch.float64)
    statistics[::4, 0] = -torch.inf
    leaf = statistics.clone().requires_grad_()
    has = leaf[:, 0] != -torch.inf
    expected = F.softplus(leaf[has, 0] + 0.5).mean() + F.softplus(leaf[:, 1] + 0.5).mean()
    loss, gradient = evaluate("anchor", (0.5,), statistics)
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(gradient, torch.autograd.grad(3 * expected, leaf)[0])


@pytest.mark.parametrize("cosine", [-1.0, -0.95, 0.0, 1 - 2e-7, 1.0])
def test_the_gradient_of_an_angle_is_held_as_in_plain_pytorch(cosine: float) -> None:
    """At both ends of the sine, and beyond pi less the margin."""
    statistics = torch.tensor([[8 * cosine, 1.0]]).requires_grad_()
    expected = F.softplus(statistics[:, 1] - 8 * add_angle(statistics[:, 0] / 8, 0.5)).sum()
    loss, gradient = evaluate("angle", BENT, statistics.detach())
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(gradient, torch.autograd.grad(3 * expected, statistics)[0])


@pytest.mark.parametrize("gap", [-0.4, 0.005, 0.01, 0.6])
@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("form", FORMS)
def test_decidability(form: str, correction: int, gap: float) -> None:
    torch.manual_seed(0)
    moments = torch.rand(300, 6, dtype=torch.float64)
    moments[:, 0], moments[:, 3] = torch.randint(0, 3, (300,)), torch.randint(1, 9, (300,))
    for mean, about in ((1, gap), (4, 0.0)):
        count = moments[:, mean - 1]
        moments[:, mean] += about - (moments[:, mean] * count).sum() / count.sum()
    leaf = moments.clone().requires_grad_()
    expected = decidability_objective(leaf, form, 0.8, correction, 0.01, 1e-6, ends=2)
    loss, gradient = evaluate(f"decidability_{form}", (0.8, correction, 0.01, 1e-6, 2.0), moments)
    torch.testing.assert_close(loss, expected.detach())
    of_moments = torch.autograd.grad(3 * expected, leaf)[0]
    of_moments[:, [0, 3]] = 0  # counts are not differentiable
    torch.testing.assert_close(gradient, of_moments)


def test_the_same_whatever_the_number_of_threads(threads: int) -> None:
    statistics, found = torch.randn(50_000, 2), []
    for count in (1, 3):
        torch.set_num_threads(count)
        found.append(evaluate("cross_entropy", (0.0,), statistics))
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize("loss", [SOFTMAX, ARCFACE, ADAFACE, MAGFACE, ANCHOR, NCA, CIRCLE, SOFT_TRIPLE, PD], ids=str)
def test_a_loss_is_one_op(loss: Named) -> None:
    problem = make_problem("plain", torch.float32)
    rows = problem.embeddings.requires_grad_()
    spy = watched(lambda: loss(problem, "native"))
    assert len(spy.of_op("pair_loss_forward")) == len(spy.of_op("pair_loss_backward")) == 1
    assert not spy.of_op("pair_forward") and rows.grad is not None
