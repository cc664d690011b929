"""Every handwritten digit image as a class of its own, seen through random warps: many classes, unseen ones at test.

Pixels are weak here: two views of one image differ more than views of two images of the same digit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor

SIDE = 24  # of a view; a digit is 8 x 8
TRAIN_CLASSES, TEST_CLASSES = 200, 200
VIEWS = 8  # of each class, in an epoch and at test
TEXTURES = 5
BLACK = -1  # no texture
PIXEL_NOISE = 0.05
CONTRAST = 0.5  # of the stripes, beside 1 for ink
AGREEMENT = 0.9  # share of the confounded training views whose texture follows the class


@dataclass(frozen=True, eq=False)  # equal if the same: a key of caches
class Split:
    """Images that are classes, and what stands behind their views."""

    ink: Tensor  # (C, 8, 8), 0 to 1
    background: str  # "black"; "shuffled": a random texture; "confounded": one that mostly follows the class

    @property
    def labels(self) -> Tensor:  # (C * VIEWS,)
        """Class of each view."""
        return torch.arange(len(self.ink)).repeat(VIEWS)

    def views(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:  # (N, 1, SIDE, SIDE), (N,)
        """Draw ``VIEWS`` views of each class; also give their textures, BLACK where there are none."""
        labels = self.labels
        images = warped(self.ink[labels], generator)
        textures = torch.randint(TEXTURES, labels.shape, generator=generator)
        if self.background == "black":
            textures = torch.full_like(labels, BLACK)
        elif self.background == "confounded":
            follows = torch.rand(labels.shape, generator=generator) < AGREEMENT
            textures = torch.where(follows, labels % TEXTURES, textures)
        images = images + (1 - images) * gratings(textures, generator)
        images = images + PIXEL_NOISE * torch.randn(images.shape, generator=generator)
        return images.unsqueeze(1), textures


@cache
def instances(seed: int, background: str = "black") -> tuple[Split, Split]:
    """Training and test classes. At test no texture follows the class."""
    ink = torch.tensor(load_digits().images / 16, dtype=torch.float32)
    order = torch.randperm(len(ink), generator=torch.Generator().manual_seed(seed))
    train, test = ink[order[:TRAIN_CLASSES]], ink[order[TRAIN_CLASSES : TRAIN_CLASSES + TEST_CLASSES]]
    return Split(train, background), Split(test, "black" if background == "black" else "shuffled")


def warped(ink: Tensor, generator: torch.Generator) -> Tensor:  # (N, 8, 8) -> (N, SIDE, SIDE)
    """Twice the size, rotated by up to 29 degrees, scaled, sheared and moved, in ink of a random strength."""
    count = len(ink)
    large = F.pad(F.interpolate(ink[:, None], size=(16, 16), mode="bicubic").clamp(0, 1), (4, 4, 4, 4))
    angle = 0.5 * uniform(generator, count)
    scale = (0.25 * uniform(generator, count, 2)).exp()
    shear, shift = 0.3 * uniform(generator, count), 0.15 * uniform(generator, count, 2, 1)
    rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(count, 2, 2)
    stretch = torch.diag_embed(scale)
    stretch[:, 0, 1] = shear
    grid = F.affine_grid(torch.cat([rotation @ stretch, shift], 2), [count, 1, SIDE, SIDE], align_corners=False)
    strength = 0.75 + 0.25 * uniform(generator, count, 1, 1)
    return F.grid_sample(large, grid, align_corners=False)[:, 0] * strength


def uniform(generator: torch.Generator, *shape: int) -> Tensor:
    """Numbers from -1 to 1."""
    return 2 * torch.rand(shape, generator=generator) - 1


def gratings(textures: Tensor, generator: torch.Generator) -> Tensor:  # (N,) -> (N, SIDE, SIDE)
    """Stripes 4 pixels apart; the texture is their orientation, the phase is random."""
    angle = (math.pi / TEXTURES * textures)[:, None, None]
    phase = 2 * math.pi * torch.rand(len(textures), 1, 1, generator=generator)
    row, column = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    across = row * angle.sin() + column * angle.cos()
    stripes = 0.5 + 0.5 * torch.sin(2 * math.pi / 4 * across + phase)
    return torch.where((textures == BLACK)[:, None, None], 0.0, CONTRAST * stripes)


def with_noise(labels: Tensor, share: float, seed: int) -> Tensor:  # (N,) -> (N,)
    """Labels of which a share was flipped to another class."""
    generator = torch.Generator().manual_seed(seed)
    flipped = torch.randperm(len(labels), generator=generator)[: round(share * len(labels))]
    shift = torch.randint(1, TRAIN_CLASSES, flipped.shape, generator=generator)
    noisy = labels.clone()
    noisy[flipped] = (labels[flipped] + shift) % TRAIN_CLASSES
    return noisy
