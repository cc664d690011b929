"""Forward and both backward kernels round a pair's score alike, which the symmetric KL of nearly equal views needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from dmlkernels.backends.pairs import Pairs
from tests.conformance.test_saturated import EPSILON, TIMES_DENSE, evaluate
from tests.triton.common import DEVICE, Maker, outcome
from tests.triton.highest import Highest, highest_statistic


@pytest.fixture
def highest() -> Iterator[Highest]:
    with highest_statistic() as statistic:
        yield statistic


@pytest.fixture(autouse=True)
def _products_as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    if DEVICE == "cuda":
        return
    from triton.runtime.interpreter import InterpreterBuilder

    from tests.triton.interpreter import dot_in_order

    monkeypatch.setattr(InterpreterBuilder, "create_dot", dot_in_order)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("dim", [13, 50])
@pytest.mark.parametrize("shares", [1, 3])
def test_to_the_last_bit(
    highest: Highest, dtype: torch.dtype, dim: int, shares: int, scheduled: Callable[[str, Any], None]
) -> None:
    """Each row's highest score is met again, whoever owns the tile: gradients are those of the highest pairs."""
    scheduled("num_splits", lambda *args: shares)
    if shares > 1:
        scheduled("MOST_STREAMED", 0)
    maker = Maker(34, 36, dim, dtype)
    rows, columns = (maker.normal(count, dim) for count in (34, 36))
    found = outcome("triton", Pairs(highest, rows, columns), torch.ones(34, 1, dtype=torch.float64, device=DEVICE))

    leaves = [given.double().requires_grad_() for given in (rows, columns)]
    units = [torch.nn.functional.normalize(leaf) for leaf in leaves]
    true = torch.autograd.grad((units[0] @ units[1].T).amax(1).sum(), leaves)
    for ours, exact in zip(found[1:], true, strict=True):
        assert ours is not None
        torch.testing.assert_close(ours.double(), exact, rtol=0, atol=8 * torch.finfo(dtype).eps)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("detach_targets", [False, True], ids=["exact", "detached"])
@pytest.mark.parametrize("dim", [16, 24, 64])
@pytest.mark.parametrize(("temperature", "distance"), [(0.02, 1e-4), (0.02, 1e-3), (0.05, 1e-2)])
def test_saturated_and_nearly_equal_views(temperature: float, distance: float, dim: int, detach_targets: bool) -> None:
    """All gradients, the proxies' too, as good as those of dense float32 torch."""
    maker = Maker(12, 40, dim)
    proxies, noise, shift = (maker.normal(count, dim) for count in (40, 12, 12))
    first = proxies[maker.labels(12, 40, ignored=False)] + 0.1 * noise
    inputs = tuple(given.float() for given in (first, first + distance * shift, proxies))
    options = {"temperature": temperature, "detach_targets": detach_targets}
    true = evaluate(inputs, torch.float64, None, **options)
    dense = evaluate(inputs, torch.float32, None, **options)
    found = evaluate(inputs, torch.float32, "triton", **options)
    # Of a cosine, which becomes a logit, and of the difference of two.
    roundings = EPSILON * (1 / temperature + dim**0.5 / distance)
    for ours, theirs, exact in zip(found.gradients, dense.gradients, true.gradients, strict=True):
        assert (ours - exact).norm() <= TIMES_DENSE * ((theirs - exact).norm() + roundings * exact.norm())
