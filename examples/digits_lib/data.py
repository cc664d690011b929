"""Handwritten digits as a zero-shot retrieval task: digits 0-4 to train on, 5-9 to retrieve."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor

SIDE = 16  # of an image; a digit is 8 x 8
TRAIN_CLASSES = 5
TEXTURES = 5
BLACK = -1  # no texture
PIXEL_NOISE = 0.1
CONTRAST = 0.5  # of the stripes, beside 1 for ink
AGREEMENT = 0.9  # share of the confounded training images whose texture follows the class


@dataclass(frozen=True)
class Split:
    """Digits of some classes, each with the texture behind it."""

    ink: Tensor  # (N, 8, 8), 0 to 1
    labels: Tensor  # (N,), the digit
    textures: Tensor  # (N,), what is behind it: 0 to TEXTURES - 1, or BLACK

    def paint(self, generator: torch.Generator) -> Tensor:  # (N, 1, SIDE, SIDE)
        """Every digit at a random place in front of its texture, which has a random phase, under pixel noise."""
        images = placed(self.ink, generator)
        images = images + (1 - images) * gratings(self.textures, generator)
        return (images + PIXEL_NOISE * torch.randn(images.shape, generator=generator)).unsqueeze(1)


def digits_task(seed: int, background: str = "black") -> tuple[Split, Split]:
    """Training split (digits 0-4) and test split (5-9).

    Args:
        seed: of the textures.
        background: "black"; "shuffled" for a random texture behind every digit; "confounded" for the same at test but,
            in training, textures that mostly follow the class.
    """
    generator = torch.Generator().manual_seed(seed)
    digits = load_digits()
    ink = torch.tensor(digits.images / 16, dtype=torch.float32)
    labels = torch.tensor(digits.target)
    training = labels < TRAIN_CLASSES
    textures = torch.randint(TEXTURES, labels.shape, generator=generator)
    if background == "black":
        textures = torch.full_like(labels, BLACK)
    elif background == "confounded":
        follows = training & (torch.rand(labels.shape, generator=generator) < AGREEMENT)
        textures = torch.where(follows, labels, textures)
    train, test = (Split(ink[part], labels[part], textures[part]) for part in (training, ~training))
    return train, test


def placed(ink: Tensor, generator: torch.Generator) -> Tensor:  # (N, 8, 8) -> (N, SIDE, SIDE)
    """Every digit at a random place of an empty image."""
    room = SIDE - ink.shape[-1]
    corners = torch.randint(room + 1, (len(ink), 2), generator=generator).tolist()
    return torch.stack([F.pad(one, (x, room - x, y, room - y)) for one, (x, y) in zip(ink, corners, strict=True)])


def gratings(textures: Tensor, generator: torch.Generator) -> Tensor:  # (N,) -> (N, SIDE, SIDE)
    """Stripes 4 pixels apart; the texture is their orientation, the phase is random."""
    angle = (math.pi / TEXTURES * textures)[:, None, None]
    phase = 2 * math.pi * torch.rand(len(textures), 1, 1, generator=generator)
    row, column = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    across = row * angle.sin() + column * angle.cos()
    stripes = 0.5 + 0.5 * torch.sin(2 * math.pi / 4 * across + phase)
    return torch.where((textures == BLACK)[:, None, None], 0.0, CONTRAST * stripes)


def with_noise(labels: Tensor, share: float, seed: int) -> Tensor:  # (N,) -> (N,)
    """Labels of which a share was flipped to another training class."""
    generator = torch.Generator().manual_seed(seed)
    flipped = torch.randperm(len(labels), generator=generator)[: round(share * len(labels))]
    shift = torch.randint(1, TRAIN_CLASSES, flipped.shape, generator=generator)
    noisy = labels.clone()
    noisy[flipped] = (labels[flipped] + shift) % TRAIN_CLASSES
    return noisy
