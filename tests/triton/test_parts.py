"""float32 multiplied as sums of float16, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from dmlkernels import normalized_softmax_loss
from dmlkernels.backends.pairs import Pairs
from dmlkernels.backends.triton import problem, schedule
from dmlkernels.backends.triton.availability import interpreted
from dmlkernels.backends.triton.parts import empty_parts
from dmlkernels.backends.triton.plan import Work
from dmlkernels.backends.triton.tiles import Tiles
from dmlkernels.statistics import IGNORED, Circle, Field, Fused, LogSumExp, Moments, SoftTriple, Statistic
from tests.triton.common import DEVICE, FIELD, Maker, assert_agrees, outcome, upstream, widen

STATISTICS = (
    LogSumExp(-3.0, 18.3), LogSumExp(4.0, -5.0), Moments(), Circle(16.0, 0.25, False), SoftTriple(5.0, 0.3, 3),
)  # fmt: skip
ROWS, COLUMNS = 45, 99
pytestmark = pytest.mark.usefixtures("tiles_only")


def _in_two_parts(work: Callable[..., Work], *args: Any) -> Work:
    return work(*args)._replace(parts=2)


def _small_tiles(slices: int) -> Tiles:
    size = 16 if interpreted() else 64
    block = 4 * size
    return Tiles(size, size, block, block // slices, 4, 1)


SLICES = pytest.fixture(params=[(1, 8), (2, 8), (2, 0)], ids=["a slice", "slices", "slices, apart"])


@SLICES
def _scaled(request: Any, scheduled: Callable[[str, Any], None]) -> None:
    """Backward of float16 as Hopper does it."""
    slices, streamed = request.param
    scheduled("MOST_STREAMED", streamed)
    scheduled("backward_work", lambda *args, of=schedule.backward_work: of(*args)._replace(parts=1))
    scheduled("backward_tiles", lambda *args: _small_tiles(slices))


@SLICES
def _parts(request: Any, scheduled: Callable[[str, Any], None]) -> None:
    slices, streamed = request.param
    scheduled("MOST_STREAMED", streamed)
    tiles = _small_tiles(slices)
    for name in ("forward_work", "backward_work"):
        scheduled(name, partial(_in_two_parts, getattr(schedule, name)))
    scheduled("forward_tiles", lambda *args: tiles)
    scheduled("backward_tiles", lambda *args: tiles)


@pytest.mark.usefixtures("_parts")
@pytest.mark.parametrize("statistic", STATISTICS, ids=lambda one: one.name)
@pytest.mark.parametrize("dim", [40, 64])
def test_as_exact_as_float32(statistic: Statistic, dim: int) -> None:
    assert_agrees(Maker(ROWS, COLUMNS, dim, torch.float32).to_columns(statistic), 2e-5)


@pytest.mark.usefixtures("_parts")
@pytest.mark.parametrize("statistic", STATISTICS[:4], ids=lambda one: one.name)
def test_labels_that_are_given(statistic: Statistic) -> None:
    """Three columns of each class, some of them ignored."""
    maker = Maker(ROWS, COLUMNS, 40, torch.float32)
    labels = (torch.arange(COLUMNS, device=DEVICE) % 33).masked_fill(
        torch.arange(COLUMNS, device=DEVICE) % 7 == 3, IGNORED
    )
    rows, columns = maker.normal(ROWS, 40), maker.normal(COLUMNS, 40)
    assert_agrees(Pairs(statistic, rows, columns, torch.arange(ROWS, device=DEVICE) % 33, labels), 2e-5)


@pytest.mark.parametrize("block", [16, 64], ids=["blocks", "whole"])
@pytest.mark.parametrize("statistic", [Field(*FIELD), Fused(*FIELD)], ids=lambda one: one.name)
@pytest.mark.parametrize("count", [40, 150])
def test_forward_of_points(statistic: Statistic, count: int, block: int, scheduled: Callable[[str, Any], None]) -> None:
    """In float32 backward."""
    size = 16 if interpreted() else 64
    scheduled("forward_work", partial(_in_two_parts, schedule.forward_work))
    scheduled("forward_tiles", lambda *args: Tiles(size, size, block, block, 4, 1))
    pairs = Maker(count, 9, 40, torch.float32).within(statistic, count // 2, columns=isinstance(statistic, Fused))
    assert_agrees(pairs, 1e-4)


@pytest.mark.usefixtures("_parts")
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_of_any_length(scale: float) -> None:
    pairs = Maker(ROWS, COLUMNS, 40, torch.float32).to_columns(LogSumExp(3.0, 18.3))
    assert pairs.columns is not None
    assert_agrees(replace(pairs, rows=pairs.rows * scale, columns=pairs.columns / scale), 2e-5)


@pytest.mark.usefixtures("_parts")
def test_ignored_vectors_of_nan_spoil_nothing() -> None:
    pairs = Maker(ROWS, COLUMNS, 40, torch.float32).to_columns(LogSumExp(3.0, 18.3))
    assert pairs.row_labels is not None
    labels, rows = pairs.row_labels.clone(), pairs.rows.clone()
    labels[::5], rows[::5] = IGNORED, float("nan")
    spoilt = replace(pairs, rows=rows, row_labels=labels)
    clean = replace(pairs, rows=rows.nan_to_num(), row_labels=labels)
    found, wanted = (outcome("triton", given, upstream(clean)) for given in (spoilt, clean))
    assert torch.equal(found.columns, wanted.columns) and torch.equal(found.rows[1], wanted.rows[1])


@pytest.mark.usefixtures("_parts", "apart")
@pytest.mark.parametrize("needed", [(True, False), (False, True)], ids=["rows", "columns"])
def test_a_side_alone(needed: tuple[bool, bool]) -> None:
    """The gradient of the other side is no memory to write to."""
    from dmlkernels.backends.triton import run

    pairs = Maker(ROWS, COLUMNS, 40, torch.float32).to_columns(LogSumExp(3.0, 18.3))
    forward, gradient = run.forward(pairs), upstream(pairs)
    both, one = (run.backward(pairs, forward, gradient, *sides) for sides in ((True, True), needed))
    for found, wanted, asked in zip(one, both, needed, strict=True):
        assert torch.equal(found, wanted) if asked else found is None


@pytest.mark.usefixtures("_parts")
@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_gradients_of_any_size(size: float) -> None:
    """Of rows with gradients far apart, too: those of a column are over the highest bound of all."""
    pairs = Maker(ROWS, COLUMNS, 40, torch.float32).to_columns(LogSumExp(3.0, 18.3))
    gradient = upstream(pairs) * size
    gradient[::2] *= 1e-6
    found, true = outcome("triton", pairs, gradient), outcome("torch", widen(pairs), gradient)
    assert found.rows is not None and true.rows is not None
    assert found.columns is not None and true.columns is not None
    for row in (0, 1):
        torch.testing.assert_close(
            found.rows[row].double(), true.rows[row], rtol=0, atol=2e-5 * true.rows[row].abs().max()
        )
    torch.testing.assert_close(found.columns.double(), true.columns, rtol=0, atol=2e-5 * true.columns.abs().max())


@pytest.mark.usefixtures("_parts")
def test_converged_embeddings_keep_their_small_gradients() -> None:
    """On their proxies, with slopes of a millionth of what they were."""
    maker = Maker(ROWS, COLUMNS, 40, torch.float32)
    proxies = maker.normal(COLUMNS, 40)
    labels = torch.arange(ROWS, device=DEVICE)
    rows = (proxies[:ROWS] + 1e-3 * maker.normal(ROWS, 40)).requires_grad_()
    found, true = (
        torch.autograd.grad(
            normalized_softmax_loss(given, labels, proxies.to(given), scale=30.0, backend=backend), given
        )[0].double()
        for backend, given in (("triton", rows), ("torch", rows.detach().double().requires_grad_()))
    )
    torch.testing.assert_close(found, true, rtol=0, atol=1e-4 * true.abs().max().item())


@pytest.mark.usefixtures("_parts")
def test_spoilt_gradients_are_nan() -> None:
    pairs = Maker(ROWS, COLUMNS, 40, torch.float32).to_columns(LogSumExp(3.0, 18.3))
    gradient = upstream(pairs)
    gradient[3] = float("nan")
    found = outcome("triton", pairs, gradient)
    assert found.rows is not None and found.columns is not None
    assert found.rows[3].isnan().all() and found.rows[4].isfinite().all() and found.columns.isnan().all()


def test_parts_lie_where_their_gradient_will_be() -> None:
    pairs = Maker(4, 12, 8, torch.float32).to_columns(LogSumExp(3.0, 18.3))
    gradient, half = torch.zeros(12, 8), torch.zeros(12, 8, dtype=torch.bfloat16)

    def of_columns(parts: int, memory: torch.Tensor | None) -> torch.Tensor:
        found = empty_parts(pairs, parts, memory)
        assert found is not None and found[0].shape == (4, 8 * parts)
        assert found[1].shape == (12, 8 * parts) and found[0].dtype == found[1].dtype == torch.float16
        return found[1]

    one, two = (of_columns(count, gradient) for count in (1, 2))
    assert one.data_ptr() == two.data_ptr() == gradient.data_ptr()
    assert one.stride() == two.stride() == (16, 1)
    for apart in (of_columns(1, None), of_columns(3, gradient), of_columns(2, half)):
        assert apart.data_ptr() not in (gradient.data_ptr(), half.data_ptr()) and apart.is_contiguous()
    assert empty_parts(pairs, 0, gradient) is None


@pytest.mark.usefixtures("_parts")
def test_parts_of_several_slices_are_not_where_gradients_are_written(
    request: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    def asked(pairs: Pairs, parts: int, memory: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor] | None:
        given.append(memory is not None)
        return empty_parts(pairs, parts, memory)

    monkeypatch.setattr(problem, "empty_parts", asked)
    pairs = Maker(ROWS, COLUMNS, 64, torch.float32).to_columns(LogSumExp(3.0, 18.3))
    outcome("triton", pairs, upstream(pairs))
    assert given == [False, request.node.callspec.params["_parts"] == 1]  # forward, backward


@pytest.mark.sampled(3)
@pytest.mark.usefixtures("_scaled")
@pytest.mark.parametrize("labelled", [False, True], ids=["numbers", "given"])
@pytest.mark.parametrize("statistic", STATISTICS, ids=lambda one: one.name)
@pytest.mark.parametrize("dim", [40, 64])
def test_gradients_of_float16_are_as_exact_as_float16(statistic: Statistic, dim: int, labelled: bool) -> None:
    assert_agrees(Maker(ROWS, COLUMNS, dim, torch.float16).to_columns(statistic, labelled), 1e-3)


@pytest.mark.usefixtures("_scaled")
def test_float16_of_any_length_and_none() -> None:
    """Each is scaled by its own power of two; zeros stay, and what is not finite spoils what meets it."""
    pairs = Maker(ROWS, COLUMNS, 40, torch.float16).to_columns(LogSumExp(3.0, 18.3))
    assert pairs.columns is not None
    rows, columns = pairs.rows.clone(), pairs.columns.clone()
    for place in range(ROWS):
        rows[place] *= 2.0 ** (place % 17 - 8) * 1.3
    for place in range(COLUMNS):
        columns[place] *= 2.0 ** (place % 19 - 9) * 0.7
    rows[4], columns[7] = 0, 0
    assert_agrees(replace(pairs, rows=rows, columns=columns), 1e-3)
    rows[5, 3] = float("inf")
    found = outcome("triton", replace(pairs, rows=rows), upstream(pairs))
    assert found.rows is not None and found.columns is not None
    assert found.rows[5].isnan().all() and found.rows[6].isfinite().all() and found.columns.isnan().all()


@pytest.mark.usefixtures("_scaled")
def test_scores_of_float16_are_those_of_forward() -> None:
    """On saturated samples the slope is a small difference of probabilities, which other scores would spoil."""
    maker = Maker(ROWS, COLUMNS, 40, torch.float16)
    proxies, labels = maker.normal(COLUMNS, 40), torch.arange(ROWS, device=DEVICE)
    rows = (proxies[:ROWS] + 1.2 * maker.normal(ROWS, 40)).requires_grad_()
    found, true = (
        torch.autograd.grad(
            1e3 * normalized_softmax_loss(given, labels, proxies.to(given), scale=64.0, backend=backend), given
        )[0].double()
        for backend, given in (("triton", rows), ("torch", rows.detach().double().requires_grad_()))
    )
    torch.testing.assert_close(found, true, rtol=0, atol=1.5e-3 * true.abs().max().item())
