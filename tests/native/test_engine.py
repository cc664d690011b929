"""Every statistic on every instruction set equals the torch backend, which the conformance suite checks by itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dmlkernels.backends.native import module
from dmlkernels.ops import pair_statistics
from dmlkernels.statistics import Field, LogSumExp
from tests.closed_form import choose_closed_form
from tests.native.problems import PROBLEMS, SIZES, draw, run

each_problem = pytest.mark.parametrize("name", PROBLEMS)


@pytest.fixture(autouse=True)
def tiles_only(kernels: module.compiled.Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    choose_closed_form(monkeypatch, False)


def assert_same(ours: list[Tensor], theirs: list[Tensor], tolerance: float) -> None:
    for found, expected in zip(ours, theirs, strict=True):
        largest = expected[expected.isfinite()].abs().max() if expected.isfinite().any() else 1.0
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * max(1.0, float(largest)))


def assert_same_rows_are_bad(ours: Tensor, theirs: Tensor) -> None:
    """torch may poison more values of a row, since it takes excluded scores out of a sum that they were in."""
    assert not (ours.isnan() & ~theirs.isnan()).any()
    assert torch.equal(ours.isnan().any(1), theirs.isnan().any(1))


@pytest.mark.sampled(3)
@each_problem
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_equals_torch(name: str, size: tuple[int, int, int]) -> None:
    problem = PROBLEMS[name](draw(*size, torch.float64))
    assert_same(run(problem, "native"), run(problem, "torch"), 1e-11)


@pytest.mark.sampled(3)
@each_problem
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_float32_is_as_good_as_torch(name: str, size: tuple[int, int, int]) -> None:
    """Errors against float64, relative to the largest entry: at most torch's and 64 roundings."""
    single = PROBLEMS[name](draw(*size, torch.float32))
    statistic, rows, columns, arguments = single
    arguments = {k: v.double() if isinstance(v, Tensor) and v.is_floating_point() else v for k, v in arguments.items()}
    wide = (statistic, rows.double(), None if columns is None else columns.double(), arguments)
    slack = 64 * torch.finfo(torch.float32).eps
    for ours, theirs, true in zip(run(single, "native"), run(single, "torch"), run(wide, "torch"), strict=True):
        finite = true.isfinite()
        assert torch.equal(ours.isfinite(), finite)
        scale = true[finite].abs().max().clamp_min(1.0) if finite.any() else 1.0
        ours_off, theirs_off = ((x.double() - true)[finite].abs().sum() / scale for x in (ours, theirs))
        worst_ours, worst_theirs = (
            float(((x.double() - true)[finite].abs() / scale).max()) if finite.any() else 0.0 for x in (ours, theirs)
        )
        assert worst_ours <= 2 * worst_theirs + slack
        assert ours_off <= 2 * theirs_off + slack * finite.sum()


@each_problem
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_inputs(name: str, dtype: torch.dtype) -> None:
    problem = PROBLEMS[name](draw(40, 530, 24, dtype))
    ours, theirs = run(problem, "native"), run(problem, "torch")
    assert ours[0].dtype == torch.float32
    assert [x.dtype for x in ours[1:]] == [dtype] * (len(ours) - 1)
    assert_same(ours[:1], theirs[:1], 1e-4)
    assert_same([x.float() for x in ours[1:]], [x.float() for x in theirs[1:]], 2 * torch.finfo(dtype).eps)


@pytest.mark.sampled(3)
@each_problem
@pytest.mark.parametrize("count", [1, 2, 3])
def test_repeats_bit_for_bit(name: str, count: int, threads: int) -> None:
    torch.set_num_threads(count)
    problem = PROBLEMS[name](draw(1500, 70, 9, torch.float32))
    first = run(problem, "native")
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(run(problem, "native"), first, strict=True))


@each_problem
def test_thread_count_hardly_matters(name: str, threads: int) -> None:
    problem = PROBLEMS[name](draw(1500, 70, 9, torch.float64))
    torch.set_num_threads(1)
    alone = run(problem, "native")
    torch.set_num_threads(2)
    assert_same(run(problem, "native"), alone, 1e-13)


@each_problem
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_bad_row_poisons_its_statistics_only(name: str, bad: float) -> None:
    drawn = draw(13, 33, 17, torch.float32)
    statistic, rows, columns, arguments = PROBLEMS[name](drawn)
    rows = rows.clone()
    rows[..., 6, 3] = bad
    ours = pair_statistics(statistic, rows, columns, backend="native", **arguments)
    theirs = pair_statistics(statistic, rows, columns, backend="torch", **arguments)
    assert ours[6].isnan().any()
    assert_same_rows_are_bad(ours, theirs)


@each_problem
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_bad_column_poisons_all(name: str, bad: float) -> None:
    statistic, rows, columns, arguments = PROBLEMS[name](draw(13, 33, 17, torch.float32))
    if columns is None:
        pytest.skip("no columns")
    columns = columns.clone()
    columns[6, 3] = bad
    ours = pair_statistics(statistic, rows, columns, backend="native", **arguments)
    theirs = pair_statistics(statistic, rows, columns, backend="torch", **arguments)
    assert_same_rows_are_bad(ours, theirs)


@each_problem
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
def test_any_scale(name: str, scale: float) -> None:
    statistic, rows, columns, arguments = PROBLEMS[name](draw(13, 33, 17, torch.float32))
    rows = rows.clone()
    rows[..., ::2, :] *= scale
    problem = (statistic, rows, columns, arguments)
    ours, theirs = run(problem, "native"), run(problem, "torch")
    assert_same(ours[:1], theirs[:1], 1e-4)
    assert_same(ours[1:], theirs[1:], 1e-4)


def test_gradients_of_one_side_alone() -> None:
    statistic, rows, columns, arguments = PROBLEMS["logsumexp"](draw(40, 530, 24, torch.float64))
    assert columns is not None
    both = run((statistic, rows, columns, arguments), "native")
    for side in (0, 1):
        leaves = [x.clone().requires_grad_(k == side) for k, x in enumerate((rows, columns))]
        statistics = pair_statistics(statistic, *leaves, backend="native", **arguments)
        upstream = torch.randn(statistics.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        statistics.backward(upstream.where(statistics.isfinite(), 0))
        assert leaves[side].grad is not None
        assert torch.equal(leaves[side].grad, both[1 + side])
        assert leaves[1 - side].grad is None


def test_underflow_keeps_the_logarithm() -> None:
    """Scores of -1 at scale 64, beside none better: the sum underflows in float32, its logarithm does not."""
    rows, columns = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    labels = {"row_labels": torch.tensor([0]), "column_labels": torch.tensor([0, 1])}
    for scale in (64.0, 1e4):
        found = pair_statistics(LogSumExp(scale, scale), rows, columns, backend="native", **labels)
        assert found.tolist() == [[scale, -scale]]


def test_no_sample_of_a_class() -> None:
    rows, columns = torch.randn(4, 3), torch.randn(5, 3)
    labels = {"row_labels": torch.zeros(4, dtype=torch.int64), "column_labels": torch.ones(5, dtype=torch.int64)}
    own = pair_statistics(LogSumExp(2.0, 2.0), rows, columns, backend="native", **labels)[:, 0]
    assert own.eq(-torch.inf).all()


def test_empty_problems() -> None:
    nothing = {"row_labels": torch.zeros(0, dtype=torch.int64), "column_labels": torch.zeros(3, dtype=torch.int64)}
    found = pair_statistics(LogSumExp(1.0, 1.0), torch.ones(0, 4), torch.ones(3, 4), backend="native", **nothing)
    assert found.shape == (0, 2)
    within = pair_statistics(
        Field(3.0, 0.2, 0.2, 1e-2, 1.0), torch.ones(1, 4), backend="native",
        row_labels=torch.zeros(1, dtype=torch.int64), within=True,
    )  # fmt: skip
    assert within.tolist() == [[0.0]]
