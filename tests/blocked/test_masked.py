"""The blocked backend where values cannot be read, as on a GPU: made to believe so on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import dmlkernels as dml
from dmlkernels.backends import Pairs, blocked
from dmlkernels.backends.blocked import host, plan
from dmlkernels.statistics import (
    IGNORED,
    Divergence,
    Field,
    Fused,
    LogSumExp,
    Moments,
    SoftTriple,
    Square,
)
from tests.closed_form import choose_closed_form

LOSSES: dict[str, Callable[..., Tensor]] = {
    "pd": lambda x, y, p, q: dml.pd_loss(x, y, p, proxy_labels=q, backend="torch"),
    "decidability": lambda x, y, p, q: dml.decidability_loss(x, y, backend="torch"),
    "field": lambda x, y, p, q: dml.potential_field_loss(
        x, y, p, proxy_labels=q, delta_att=0.9, delta_rep=1.1, backend="torch"
    ),
    "softmax": lambda x, y, p, q: dml.normalized_softmax_loss(x, y, p, proxy_labels=q, backend="torch"),
    "anchor": lambda x, y, p, q: dml.proxy_anchor_loss(x, y, p, proxy_labels=q, backend="torch"),
    "soft triple": lambda x, y, p, q: dml.soft_triple_loss(x, y, p, centers_per_class=4, backend="torch"),
    "fused": lambda x, y, p, q: dml.fused_objective(
        x, y, p, p.detach()[:3], proxy_labels=q, field_weight=1.0, odba_weight=1.0, delta_rep=0.9, backend="torch"
    )[0],
}


@pytest.fixture(params=[False, True], ids=["whole", "tiled"])
def small_tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param:
        monkeypatch.setattr(plan, "TILE_ELEMENTS", 64)
        monkeypatch.setattr(plan, "BLOCK_ROWS", 8)
        monkeypatch.setattr(plan, "SQUARE_BLOCK", 8)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("own_proxies", [1, 4])
@pytest.mark.parametrize("name", LOSSES)
def test_masks_give_what_lists_give(name: str, own_proxies: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "soft triple" and own_proxies == 1:
        pytest.skip("its centres come in groups")
    torch.manual_seed(0)
    proxies = torch.randn(40, 6, dtype=torch.float64)
    classes = 40 // own_proxies
    proxy_labels = None if own_proxies == 1 else torch.arange(classes).repeat(own_proxies)
    labels = torch.randint(classes, (29,))
    labels[1] = labels[0]
    labels[[3, 17]] = -100
    embeddings = torch.randn(29, 6, dtype=torch.float64)
    embeddings[3] = torch.nan  # an ignored row may hold anything

    def evaluate() -> list[Tensor]:
        x, p = embeddings.clone().requires_grad_(), proxies.clone().requires_grad_()
        loss = LOSSES[name](x, labels, p, proxy_labels)
        loss.backward()
        assert x.grad is not None
        return [loss.detach(), x.grad, *([] if p.grad is None else [p.grad])]

    listed = evaluate()
    monkeypatch.setattr(host, "readable", lambda tensor: False)
    torch.testing.assert_close(evaluate(), listed, rtol=1e-10, atol=1e-10)


STATISTICS = [Moments(), LogSumExp(20.0, 20.0), Field(3.0, 0.2, 0.2, 0.01, 1.0), Square(), SoftTriple(20.0, 0.1, 5)]


@pytest.mark.parametrize(
    "statistic", [*STATISTICS, Divergence(10.0, 1.0), Fused(3.0, 0.2, 0.2, 0.01, 1.0)], ids=lambda s: s.name
)
def test_nothing_is_read_on_the_host(statistic: object) -> None:
    """Tensors of the meta device have no values: whatever looked at one would raise."""
    assert isinstance(statistic, Moments | LogSumExp | Field | Square | SoftTriple | Divergence | Fused)
    rows = torch.empty(*((2,) if statistic.views == 2 else ()), 30, 8, device="meta")
    points = statistic.name in ("field", "fused")
    pairs = Pairs(
        statistic,
        rows,
        torch.empty(20, 8, device="meta"),
        row_labels=torch.full((30,), IGNORED, device="meta"),
        column_labels=None,
        column_weights=torch.empty(20, device="meta"),
        within=points,
        row_boundaries=(10,) if points else (),
    )
    forward = blocked.forward(pairs)
    assert forward.saved.shape == blocked.saved_shape(pairs)
    found = blocked.backward(pairs, forward, torch.empty(30, statistic.width, device="meta"), True, True)
    assert found.rows is not None and found.rows.shape == rows.shape
    assert found.columns is not None and found.columns.shape == (20, 8)


@pytest.mark.parametrize("closed_form", [True, False])
def test_ignored_columns_count_for_nothing(closed_form: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    choose_closed_form(monkeypatch, closed_form)
    torch.manual_seed(0)
    rows, columns = torch.randn(12, 5, dtype=torch.float64), torch.randn(40, 5, dtype=torch.float64)
    labels, classes = torch.randint(6, (12,)), torch.randint(6, (40,))
    classes[::3] = IGNORED
    kept = classes != IGNORED
    found = blocked.forward(Pairs(Moments(), rows, columns, labels, classes)).statistics
    expected = blocked.forward(Pairs(Moments(), rows, columns[kept], labels, classes[kept])).statistics
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("closed_form", [True, False])
def test_an_ignored_row_has_no_gradient(closed_form: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever gradient its statistics get: seen on a GPU, where the closed form passed it on."""
    choose_closed_form(monkeypatch, closed_form)
    torch.manual_seed(0)
    rows, columns = torch.randn(12, 5, dtype=torch.float64), torch.randn(40, 5, dtype=torch.float64)
    labels = torch.randint(40, (12,))
    labels[4] = IGNORED
    pairs, gradient = Pairs(Moments(), rows, columns, labels), torch.randn(12, 6, dtype=torch.float64)
    listed = blocked.backward(pairs, blocked.forward(pairs), gradient, True, True)
    monkeypatch.setattr(host, "readable", lambda tensor: False)
    masked = blocked.backward(pairs, blocked.forward(pairs), gradient, True, True)
    assert masked.rows is not None and not masked.rows[4].any()
    torch.testing.assert_close(masked, listed)


class _NoFloat64(TorchDispatchMode):
    """A device without float64, as Apple's."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            assert not isinstance(tensor, Tensor) or tensor.dtype != torch.float64, f"{func} made float64"
        return found


@pytest.mark.parametrize("name", LOSSES)
def test_float32_needs_no_float64(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "readable", lambda tensor: False)
    monkeypatch.setattr(host, "has_float64", lambda tensor: False)
    x, p = torch.randn(12, 6, requires_grad=True), torch.randn(40, 6, requires_grad=True)
    with _NoFloat64():
        LOSSES[name](x, torch.arange(12) % 5, p, None).backward()
    assert x.grad is not None and x.grad.isfinite().all()
