"""No loss launches more on a GPU than its row of the table says; the rule of counting is ``counting.py``'s."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")

from tests.losses import LOSSES, Loss
from tests.triton.counted import LARGE, SMALL, Shape, count_loss
from tests.triton.counting import count

MOST = {  # small, large
    "pd": (94, 282),
    "decidability": (103, 104),
    "field": (59, 57),
    "field_alone": (49, 50),
    "odba": (16, 16),
    "symmetric_kl": (31, 32),
    "fused": (157, 155),
    "anchor": (47, 46),
    "softmax": (44, 44),
    "nca": (44, 44),
    "cosface": (45, 45),
    "arcface": (86, 86),
    "soft_triple": (102, 152),
}


@pytest.mark.parametrize("shape", [SMALL, LARGE], ids=str)
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_launches_of_a_step(loss: Loss, shape: Shape) -> None:
    found = count_loss(loss, shape)
    assert found.total <= MOST[loss.name][shape is LARGE], str(found)


def test_the_rule() -> None:
    def step() -> torch.Tensor:
        x = torch.empty(8, 4, device="meta", requires_grad=True)
        first, second = x[:, 0], x.unbind(1)[1]  # views
        return (first * second.detach()).sum()

    found = count(step)
    assert found.forward == ["mul", "sum"]
    assert found.backward == ["ones_like", "mul", "select_backward"]  # the first is the gradient of the loss


def test_a_step_that_waits_for_the_device_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="meta"):
        count(lambda: torch.ones(2, device="meta", requires_grad=True).sum() * torch.ones(1, device="meta").item())
