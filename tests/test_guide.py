"""The statistic of docs/adding_a_loss.md works as written there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import dmlkernels as dml
from dmlkernels import backends, statistics
from dmlkernels.backends.blocked import plan
from dmlkernels.ops import pair_statistics
from dmlkernels.statistics.base import State

GUIDE = Path(__file__).parent.parent / "docs" / "adding_a_loss.md"
MARGIN = 0.2


@pytest.fixture
def contrastive(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class in the guide, registered as the guide says, while a test runs."""
    (code,) = re.findall(r"```python\n(class Contrastive\(Statistic\).*?)```", GUIDE.read_text(), re.DOTALL)
    names: dict[str, Any] = {
        "Statistic": statistics.Statistic,
        "Tile": statistics.Tile,
        "State": State,
        "Tensor": Tensor,
    }
    exec(compile(code, str(GUIDE), "exec"), names)
    monkeypatch.setitem(statistics.CATALOGUE, "contrastive", names["Contrastive"])
    return names["Contrastive"]


def dense(embeddings: Tensor, labels: Tensor, proxies: Tensor) -> Tensor:
    scores = F.normalize(embeddings) @ F.normalize(proxies).T
    own = labels[:, None] == torch.arange(len(proxies))
    pull = ((1 - scores).square() * own).sum(1)
    push = ((scores - MARGIN).clamp_min(0).square() * ~own).sum(1)
    return torch.stack((pull, push), dim=1)


@pytest.mark.parametrize("tile_elements", [plan.TILE_ELEMENTS, 24])
def test_the_guides_statistic(contrastive: Any, tile_elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "TILE_ELEMENTS", tile_elements)
    torch.manual_seed(0)
    embeddings = torch.randn(9, 5, dtype=torch.float64, requires_grad=True)
    proxies = torch.randn(17, 5, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(17, (9,))

    def ours(embeddings: Tensor, proxies: Tensor) -> Tensor:
        return pair_statistics(contrastive(MARGIN), embeddings, proxies, backend="torch", row_labels=labels)

    torch.testing.assert_close(ours(embeddings, proxies), dense(embeddings, labels, proxies))
    assert torch.autograd.gradcheck(ours, (embeddings, proxies))


def test_auto_takes_a_backend_that_has_the_statistic(contrastive: Any) -> None:
    embeddings, proxies, labels = torch.randn(4, 5), torch.randn(3, 5), torch.tensor([0, 1, 2, 0])
    found = pair_statistics(contrastive(MARGIN), embeddings, proxies, backend="auto", row_labels=labels)
    torch.testing.assert_close(found, dense(embeddings, labels, proxies))
    compiled = torch.compile(pair_statistics, fullgraph=True, backend="eager")
    torch.testing.assert_close(
        compiled(contrastive(MARGIN), embeddings, proxies, backend="auto", row_labels=labels), found
    )


@pytest.mark.parametrize("name", [name for name in ("native", "triton") if dml.available_backends()[name]])
def test_a_backend_without_the_statistic_says_so(contrastive: Any, name: str) -> None:
    embeddings, proxies, labels = torch.randn(4, 5), torch.randn(3, 5), torch.tensor([0, 1, 2, 0])
    message = rf"^backend: '{name}' does not have the statistic 'contrastive', expected one of \('auto', 'torch'\)$"
    with pytest.raises(ValueError, match=message):
        pair_statistics(contrastive(MARGIN), embeddings, proxies, backend=name, row_labels=labels)
    with dml.use_backend(name), pytest.raises(ValueError, match=message):
        pair_statistics(contrastive(MARGIN), embeddings, proxies, backend="auto", row_labels=labels)


@pytest.mark.parametrize("name", list(dml.available_backends()))
def test_every_backend_has_the_whole_catalogue(name: str) -> None:
    if dml.available_backends()[name]:
        assert [statistic for statistic in statistics.CATALOGUE if not backends.get(name).supports(statistic)] == []
