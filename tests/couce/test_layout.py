"""Feature maps with the channels last: exact when said, refused when evident and not said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dmlkernels import BackgroundDictionary, FourierIntervention, fourier_intervention, intervened_forward
from dmlkernels.couce.descriptors import background_descriptors, variance_gate

SWIN = ((2, 56, 56, 96), (2, 28, 28, 192), (2, 14, 14, 384), (2, 7, 7, 768), (2, 32, 32, 3))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def dictionary(features: Tensor, **options: Any) -> Tensor:
    module = BackgroundDictionary(2, 12)
    module.update(features, **options)
    return module.atoms


def intervened(features: Tensor, **options: Any) -> Tensor:
    return fourier_intervention(features, generator=seeded(), **options)


def intervened_by_module(features: Tensor, **options: Any) -> Tensor:
    module = FourierIntervention(generator=seeded(), **options)
    assert str(options.get("layout", "")) in repr(module)
    changed: Tensor = module(features)
    return changed


Taking = Callable[..., Tensor]
SAME_SHAPE: tuple[Taking, ...] = (intervened, intervened_by_module)
REDUCING: tuple[Taking, ...] = (variance_gate, background_descriptors, dictionary)


@pytest.mark.parametrize("take", [*SAME_SHAPE, *REDUCING])
@pytest.mark.parametrize("size", [(5, 5), (4, 9)])
def test_channels_last_give_the_same(take: Taking, size: tuple[int, int]) -> None:
    first = torch.randn(3, 12, *size, generator=seeded())
    last = first.movedim(1, 3).contiguous()
    expected, found = take(first), take(last, layout="NHWC")
    if take in SAME_SHAPE:
        assert found.shape == last.shape
        found = found.movedim(3, 1)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(take(first, layout="NCHW"), expected)


@pytest.mark.parametrize("take", [*SAME_SHAPE, *REDUCING])
def test_the_memory_format_is_no_layout(take: Taking) -> None:
    first = torch.randn(3, 12, 8, 8, generator=seeded())
    torch.testing.assert_close(take(first.to(memory_format=torch.channels_last)), take(first))


@pytest.mark.parametrize("take", [*SAME_SHAPE, *REDUCING])
@pytest.mark.parametrize("shape", SWIN)
def test_what_is_evidently_channels_last_is_refused(take: Taking, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^feature(_map|s): got .* looks like \(B, H, W, C\); pass layout='NHWC', or"):
        take(torch.randn(shape))


@pytest.mark.parametrize("take", SAME_SHAPE)
def test_said_to_be_channels_first_it_is_taken(take: Taking) -> None:
    assert take(torch.randn(2, 28, 28, 192), layout="NCHW").shape == (2, 28, 28, 192)


@pytest.mark.parametrize("take", [*SAME_SHAPE, *REDUCING])
def test_unknown_layouts(take: Taking) -> None:
    for layout in ("nhwc", "CHW", 1, True):
        with pytest.raises(ValueError, match=r"^layout: got .*, expected one of \(None, 'NCHW', 'NHWC'\)"):
            take(torch.randn(2, 3, 4, 4), layout=layout)


def test_descriptors_of_a_wrong_size_hint_at_the_layout() -> None:
    with pytest.raises(ValueError, match=r"^features: got descriptors \(2, 3\), expected \(B, 12\) \(layout='NHWC' "):
        BackgroundDictionary(2, 12).update(torch.randn(2, 3, 4, 12))
    with pytest.raises(ValueError, match=r"^layout: came with ready descriptors"):
        BackgroundDictionary(2, 12).update(torch.randn(2, 12), layout="NHWC")


def test_a_channels_last_backbone() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stage, self.head = nn.Linear(3, 24), nn.Linear(24, 8)

        def forward(self, images: Tensor) -> Tensor:
            found: Tensor = self.head(self.stage(images.movedim(1, 3)).relu().mean((1, 2)))
            return found

    backbone, images = Last(), torch.randn(4, 3, 9, 9)
    first, second = intervened_forward(
        backbone, images, after="stage", intervention=FourierIntervention(layout="NHWC", generator=seeded())
    )
    stage = backbone.stage(images.movedim(1, 3)).movedim(3, 1)
    changed = fourier_intervention(stage, generator=seeded())
    torch.testing.assert_close(second, backbone.head(changed.relu().mean((2, 3))))
    torch.testing.assert_close(first, backbone(images))
