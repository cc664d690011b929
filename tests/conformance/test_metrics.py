"""The functions that are no losses: the field at given points, and the decidability index."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import dmlkernels as dml
from dmlkernels import reference
from dmlkernels.functional import field


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


POINTS, SOURCES = normal(40, 3), normal(60, 3, seed=1)
LABELS, SOURCE_LABELS = torch.arange(40) % 7, torch.arange(60) % 5


@pytest.mark.parametrize("entries", [1, 500, 2**18])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(
    "options", [{}, {"delta_att": 0.7, "delta_rep": 1.4, "alpha": 2.0}, {"unit_depth": False, "delta_rep": 0.9}]
)
def test_potential_field(
    options: dict[str, float], normalize: bool, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(field, "_TILE_ENTRIES", entries)
    given = POINTS, LABELS, SOURCES, SOURCE_LABELS
    found = dml.potential_field(*given, normalize=normalize, **options)
    expected = reference.potential_field(*given, normalize=normalize, **options)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_points_on_their_sources() -> None:
    potential, force = dml.potential_field(POINTS, LABELS, POINTS, LABELS)
    expected = reference.potential_field(POINTS, LABELS, POINTS, LABELS)
    torch.testing.assert_close((potential, force), expected, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(force.sum(0), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-6)


def test_field_of_nothing() -> None:
    potential, force = dml.potential_field(POINTS, LABELS, SOURCES[:0], SOURCE_LABELS[:0])
    assert potential.eq(0).all() and force.eq(0).all() and force.shape == POINTS.shape
    assert dml.potential_field(POINTS[:0], LABELS[:0], SOURCES, SOURCE_LABELS)[1].shape == (0, 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_field_in_lower_precision(dtype: torch.dtype) -> None:
    points, sources = POINTS.to(dtype), SOURCES.to(dtype)
    found = dml.potential_field(points, LABELS, sources, SOURCE_LABELS, delta_att=0.7, delta_rep=0.9)
    expected = reference.potential_field(
        points.double(), LABELS, sources.double(), SOURCE_LABELS, delta_att=0.7, delta_rep=0.9
    )
    assert found[0].dtype == found[1].dtype == torch.float32 and not found[0].requires_grad
    torch.testing.assert_close(found, tuple(x.float() for x in expected), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_decidability(dtype: torch.dtype) -> None:
    genuine, impostor = (normal(8, 5) + 2).to(dtype), normal(50, seed=2).to(dtype)
    found = dml.decidability(genuine, impostor)
    assert found.dtype == torch.promote_types(dtype, torch.float32)
    expected = reference.decidability(genuine.double(), impostor.double())
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)
    assert dml.decidability(impostor, genuine) < 0


def test_decidability_is_what_the_losses_raise() -> None:
    """With form "neg" and no eps the loss is minus the metric of the very scores."""
    x, p = normal(6, 4), normal(5, 4, seed=1)
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    scores = torch.nn.functional.normalize(x) @ torch.nn.functional.normalize(p).T
    own = labels[:, None] == torch.arange(5)
    index = dml.decidability(scores[own], scores[~own])
    torch.testing.assert_close(dml.pd_loss(x, labels, p, form="neg", eps=0.0), -index)
