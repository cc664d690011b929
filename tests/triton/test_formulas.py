"""Formulas in one launch: what plain PyTorch says, for every loss, and no other way taken where there is a kernel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest
import torch
from torch import Tensor

from dmlkernels.backends.formulas import Loss as FormulaLoss
from dmlkernels.backends.formulas import LossGradient, memory
from dmlkernels.backends.triton import formulas
from dmlkernels.backends.triton.formulas import losses
from dmlkernels.backends.triton.kernels.functions import ROWS_AT_ONCE
from dmlkernels.ops import pair_losses
from tests.conformance.evaluate import Outcome, errors, ours, truth
from tests.conformance.spy import Spy
from tests.losses import EVERY, FUSED, MAGFACE, PD, SOFT_TRIPLE, Loss
from tests.problem import NAMED, make_problem
from tests.triton.common import DEVICE

CASES = ("plain", "some_ignored", "one_sample", "crowded_proxies")
OF_NUMBERS = (
    "cosface_loss", "arcface_loss", "sub_center_arcface_loss", "curricularface_loss", "adaface_loss", "magface_loss",
)  # fmt: skip


def stays_plain(loss: Loss) -> bool:
    """Losses of each sample, margins beside tensors, and smoothing."""
    return (
        loss.options.get("reduction") == "none"
        or "label_smoothing" in loss.options
        or (loss.function in OF_NUMBERS and bool({"margin", "scale"} & set(loss.keywords)))
    )


@contextmanager
def by_kernels() -> Iterator[list[str]]:
    """Statistics are the torch backend's, formulas the kernels', whose names are listed."""
    used = []
    evaluate = formulas.evaluate

    def named(loss: FormulaLoss, statistics: Tensor) -> None:
        used.append(loss.formula)
        evaluate(loss, statistics)

    def resolve(name: str, device_type: str, statistic: str | None = None) -> str:
        return "triton" if statistic is None else "torch"

    with (
        mock.patch.object(pair_losses.backends, "resolve", resolve),
        mock.patch.object(formulas, "evaluate", named),
    ):
        yield used


def outcome(loss: Loss, case: str, dtype: torch.dtype) -> Outcome:
    with by_kernels() as used:
        found = ours(loss, make_problem(case, dtype), "torch")
    assert bool(used) != stays_plain(loss)
    return found


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("loss", EVERY, ids=str)
def test_is_what_plain_pytorch_says(loss: Loss, case: str) -> None:
    if not loss.applies(NAMED[case]):
        pytest.skip("not a case of this loss")
    problem = make_problem(case)
    value, gradients = errors(outcome(loss, case, torch.float64), ours(loss, problem, "torch"), problem)
    assert max(value, *gradients.values()) <= 1e-12


@pytest.mark.parametrize("loss", EVERY, ids=str)
def test_is_as_exact_in_float32(loss: Loss) -> None:
    """Sums over rows are float64."""
    problem = make_problem("some_ignored", torch.float32)
    true = truth(loss, problem)
    found, plain = (
        errors(way, true, problem)
        for way in (outcome(loss, "some_ignored", torch.float32), ours(loss, problem, "torch"))
    )
    assert found.value <= plain.value + 2e-7
    for name, error in found.gradients.items():
        assert error <= plain.gradients[name] + 1e-6, name


def evaluate(
    name: str, numbers: tuple[float, ...], statistics: Tensor, weight: Tensor | None = None, added: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """A formula's mean, and three times the gradient of its statistics."""
    made = memory(name, statistics, statistics.dtype)
    wanted = FormulaLoss(name, numbers, None, added, None, weight, None, True, *made)
    formulas.evaluate(wanted, statistics)
    three = torch.full_like(wanted.loss, 3.0)
    of_loss = LossGradient(name, numbers, None, None, weight, wanted.state, three)
    return wanted.loss, formulas.backward(of_loss, statistics)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_softplus_keeps_small_and_large_values(dtype: torch.dtype) -> None:
    x = torch.tensor([-200.0, -80.0, -20.0, -1.0, -1e-3, 0.0, 1e-3, 0.7, 20.0, 200.0], dtype=dtype, device=DEVICE)
    for value in x:
        loss, gradient = evaluate("cross_entropy", (0.0,), torch.stack((torch.zeros_like(value), value))[None])
        wide = value.double()
        expected = torch.where(wide > 0, wide, 0) + (-wide.abs()).exp().log1p()
        info = torch.finfo(dtype)
        torch.testing.assert_close(loss.double(), expected, rtol=4 * info.eps, atol=info.tiny)
        torch.testing.assert_close(gradient[0, 1].double() / 3, wide.sigmoid(), rtol=4 * info.eps, atol=info.tiny)


@pytest.mark.parametrize("shared_out", [False, True], ids=["one program", "programs"])
def test_more_rows_than_a_block(shared_out: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if shared_out:
        monkeypatch.setattr(losses, "MOST_ROWS", 1)
        monkeypatch.setattr(losses, "ROWS_OF_PROGRAM", ROWS_AT_ONCE.value)
    torch.manual_seed(0)
    statistics = torch.randn(2500, 2, dtype=torch.float64, device=DEVICE, requires_grad=True)
    weight = torch.rand(2500, dtype=torch.float64, device=DEVICE)
    added = torch.randn(1500, dtype=torch.float64, device=DEVICE)
    loss, gradient = evaluate("cross_entropy", (0.5,), statistics.detach(), weight, added)
    of_rows = torch.nn.functional.softplus(statistics[:, 1] - statistics[:, 0] + 0.5)
    expected = (of_rows * weight).sum() / weight.sum() + added.sum()
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(gradient, torch.autograd.grad(3 * expected, statistics)[0])


def test_two_terms_of_rows_that_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxy-Anchor's: rows without positives are in the second mean only."""
    monkeypatch.setattr(losses, "MOST_ROWS", 1)
    monkeypatch.setattr(losses, "ROWS_OF_PROGRAM", ROWS_AT_ONCE.value)
    torch.manual_seed(0)
    statistics = torch.randn(4100, 2, dtype=torch.float64, device=DEVICE)
    statistics[::3, 0] = -torch.inf
    loss, _ = evaluate("anchor", (0.5,), statistics)
    pull, push = torch.nn.functional.softplus(statistics + 0.5).unbind(1)
    torch.testing.assert_close(loss, pull[statistics[:, 0].isfinite()].mean() + push.mean())


@pytest.mark.parametrize("checks", [(), ("unchecked",)], ids=["labels resolved", "labels as given"])
@pytest.mark.parametrize("loss", [PD, FUSED, SOFT_TRIPLE, MAGFACE], ids=str)
def test_is_a_custom_op(loss: Loss, checks: tuple[str, ...], request: pytest.FixtureRequest) -> None:
    """Of all that may be differentiated: rows and columns, values of rows, and what is added."""
    for name in checks:
        request.getfixturevalue(name)
    problem = make_problem("some_ignored", torch.float32)
    with by_kernels(), Spy() as spy:
        loss(problem, "torch").backward()
    for name in ("pair_loss_forward", "pair_loss_backward"):
        (args,) = spy.of_op(name)
        with by_kernels():
            torch.library.opcheck(
                getattr(torch.ops.dmlkernels, name).default,
                tuple(arg.detach() if isinstance(arg, Tensor) else arg for arg in args),
                test_utils=("test_schema", "test_faketensor"),
            )


def test_has_first_derivatives_only() -> None:
    problem = make_problem("plain")
    with by_kernels():
        value = PD(problem, "torch")
        (gradient,) = torch.autograd.grad(value, problem.embeddings, create_graph=True)
        with pytest.raises(RuntimeError, match="first derivatives only"):
            gradient.sum().backward()
