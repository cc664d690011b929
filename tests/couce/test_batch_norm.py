"""Running statistics that something other than the training batch must not change."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dmlkernels.couce.batch_norm import frozen_running_statistics
from tests.couce.networks import running_statistics


@pytest.fixture
def norms() -> list[nn.Module]:
    return [
        nn.BatchNorm2d(4),
        nn.BatchNorm2d(4, momentum=None),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.InstanceNorm2d(4, track_running_stats=True),
        nn.BatchNorm2d(4).eval(),
    ]


def test_frozen_running_statistics_normalise_as_ever(norms: list[nn.Module]) -> None:
    model = nn.ModuleList(norms)
    features = 3 * torch.randn(5, 4, 6, 6) + 2
    before = running_statistics(model)
    tracking = [layer.track_running_stats for layer in norms]
    with frozen_running_statistics(model):
        frozen = [layer(features) for layer in norms]
    assert all(map(torch.equal, running_statistics(model), before))
    assert [layer.track_running_stats for layer in norms] == tracking
    assert all(map(torch.equal, frozen, [layer(features) for layer in norms]))
    assert not all(map(torch.equal, running_statistics(model), before))
    with pytest.raises(ArithmeticError), frozen_running_statistics(model):
        raise ArithmeticError
    assert [layer.track_running_stats for layer in norms] == tracking
