"""The closed form of PD-Loss's moments: value and gradient, the end of training, memory, compilation, launches."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

pytest.importorskip("triton")

from dmlkernels.backends.gpu import closed
from dmlkernels.backends.pairs import Forward, Gradients, Pairs
from dmlkernels.backends.triton import closed_form, layout
from dmlkernels.backends.triton.availability import interpreted
from dmlkernels.backends.triton.plan import Architecture
from dmlkernels.statistics import IGNORED, Moments
from tests.closed_form import choose_closed_form
from tests.conformance.evaluate import Errors, assert_close, errors, ours, truth
from tests.conformance.test_converged import converged
from tests.losses import BRANCHES, PD, Loss
from tests.problem import NAMED, make_problem
from tests.triton.compiling import TARGETS, compiled
from tests.triton.counted import LARGE, count_loss
from tests.triton.test_guards import Launch
from tests.triton.test_losses import SMALL

KERNELS = ("scatter_kernel", "add_scatter_kernel", "moments_kernel", "row_gradient_kernel", "column_gradient_kernel")
FORMS = (PD, *(loss for loss in BRANCHES if loss.function == PD.function))
interprets = pytest.mark.skipif(not interpreted(), reason="needs TRITON_INTERPRET=1")


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the operation count says."""
    choose_closed_form(monkeypatch, True)


@interprets
@pytest.mark.usefixtures("used")
@pytest.mark.parametrize("case", [case for case in SMALL if PD.applies(case)], ids=str)
def test_every_case(case: object) -> None:
    problem = make_problem(case)
    assert_close(ours(PD, problem, "triton"), truth(PD, problem), problem, PD.tolerance)


@interprets
@pytest.mark.usefixtures("used")
@pytest.mark.parametrize("loss", FORMS, ids=str)
def test_every_form(loss: Loss) -> None:
    problem = make_problem(NAMED["some_ignored"])
    assert_close(ours(loss, problem, "triton"), truth(loss, problem), problem, loss.tolerance)


@interprets
@pytest.mark.parametrize("noise", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("spread", [1.0, 1e-2])
def test_converged(noise: float, spread: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within twice the error of tiles, beside the rounding of the result; of several problems, since of one the error
    of either may be small by chance."""
    found: dict[bool, list[Errors]] = {True: [], False: []}
    for seed in range(4):
        problem = converged(seed, 12, 16, 40, noise, spread=spread).cast(torch.float32)
        true = truth(PD, problem)
        for form, so_far in found.items():
            choose_closed_form(monkeypatch, form)
            so_far.append(errors(ours(PD, problem, "triton"), true, problem))
    assert max(error.value for error in found[True]) <= 2 * max(error.value for error in found[False]) + 1e-7
    for name in found[True][0].gradients:
        ours_worst, of_tiles = (max(error.gradients[name] for error in found[form]) for form in (True, False))
        assert ours_worst <= 2 * of_tiles + 4 * torch.finfo(torch.float32).eps, name


def pairs_of(rows: int, columns: int, dim: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Pairs:
    """Labels of which some are ignored and some are no column's, as on one rank of several."""
    labels = torch.arange(rows) * 7 % (columns + 3)
    labels[::5] = IGNORED
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randn(count, dim, generator=generator).to(device, dtype) for count in (rows, columns))
    return Pairs(Moments(), x, w, labels.to(device))


def both_passes(
    pairs: Pairs, rows: bool = True, columns: bool = True, arch: Architecture = TARGETS["sm_90"][1]
) -> tuple[Forward, Gradients]:
    """The gradient is that of the sum of the means and deviations."""
    forward = closed_form.forward(pairs, arch)
    return forward, closed_form.backward(pairs, forward, torch.ones_like(forward.statistics), rows, columns, arch)


@interprets
@pytest.mark.parametrize(
    ("rows", "columns", "dim"), [(33, 70, 5), (17, 200, 40), (40, 33, 150)], ids=["short", "medium", "long"]
)
@pytest.mark.parametrize("splits", [1, 3])
def test_equals_torch(rows: int, columns: int, dim: int, splits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed_form, "num_splits", lambda *args: splits)
    pairs = pairs_of(rows, columns, dim, torch.float64)
    forward, gradients = both_passes(pairs)
    expected = closed.forward(pairs)
    torch.testing.assert_close(forward.statistics, expected.statistics, rtol=1e-12, atol=1e-12)
    wanted = closed.backward(pairs, expected, torch.ones_like(expected.statistics), True, True)
    torch.testing.assert_close(tuple(gradients), tuple(wanted), rtol=1e-11, atol=1e-12)


@interprets
def test_either_gradient_alone_has_the_same_bits() -> None:
    pairs = pairs_of(20, 50, 20)
    _, both = both_passes(pairs)
    _, again = both_passes(pairs)
    _, rows = both_passes(pairs, columns=False)
    _, columns = both_passes(pairs, rows=False)
    assert both.rows is not None and both.columns is not None and again.rows is not None
    assert rows.columns is None and columns.rows is None
    assert torch.equal(both.rows, again.rows) and torch.equal(both.rows, rows.rows)
    assert torch.equal(both.columns, columns.columns)


@interprets
@pytest.mark.parametrize("side", ["rows", "columns"])
def test_a_spoilt_number_spoils_what_it_is_in(side: str) -> None:
    pairs = pairs_of(12, 40, 8)
    getattr(pairs, side)[3, 2] = torch.inf
    statistics = both_passes(pairs)[0].statistics
    counted = pairs.row_labels != IGNORED
    spoilt = statistics[:, 4:].isnan().any(1)
    assert torch.equal(spoilt, counted if side == "columns" else torch.arange(12) == 3)


@interprets
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
def test_guard_bands(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins = [Launch(getattr(closed_form, name)) for name in KERNELS] + [Launch(layout.prepare_kernel)]
    for name, stand_in in zip(KERNELS, stand_ins, strict=False):
        monkeypatch.setattr(closed_form, name, stand_in)
    monkeypatch.setattr(layout, "prepare_kernel", stand_ins[-1])
    forward, gradients = both_passes(pairs_of(18, 35, 17, dtype))
    assert not any(x is None or x.isnan().any() for x in (forward.statistics, *gradients))
    assert all(stand_in.launches > 0 for stand_in in stand_ins)


@pytest.mark.sampled(6)
@pytest.mark.skipif(interpreted(), reason="compiles")
@pytest.mark.parametrize("rows", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("dim", [100, 512])
@pytest.mark.parametrize("target", TARGETS)
def test_compiles(target: str, dim: int, rows: torch.dtype) -> None:
    pairs = pairs_of(9, 9, dim, device="meta")
    with compiled(target) as found:
        both_passes(replace(pairs, rows=pairs.rows.to(rows)), arch=TARGETS[target][1])
    kernels = {one.kernel: one for one in found}
    assert set(kernels) == {"prepare_kernel", *KERNELS}
    for name in set(KERNELS) - {"add_scatter_kernel"}:
        assert kernels[name].tensor_core or target == "sm_100", name  # Triton 3.6 has none there for float64
    assert not any(one.spilled_in_loops for one in found) and max(one.spilled for one in found) <= 8


def test_columns_of_halves_are_left_to_tiles() -> None:
    """Triton 3.6 does not compile float64 products of halves."""
    pairs = pairs_of(4096, 4096, 8)
    assert closed.applies(pairs)
    assert closed.applies(replace(pairs, rows=pairs.rows.bfloat16()))
    assert pairs.columns is not None
    assert not closed.applies(replace(pairs, rows=pairs.rows.bfloat16(), columns=pairs.columns.bfloat16()))


@pytest.mark.skipif(interpreted(), reason="counts")
def test_launches_do_not_grow_with_the_columns() -> None:
    few, many = (count_loss(PD, replace(LARGE, classes=classes)).total for classes in (10**5, 10**8))
    assert few == many
