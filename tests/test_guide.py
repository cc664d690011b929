"""The statistic of docs/adding_a_loss.md works as written there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dmlkernels import statistics
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
