"""From a PIL image to what the network sees: torchvision's transforms when installed, small ones of ours otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor

try:
    from torchvision.transforms import v2
except (ImportError, RuntimeError):  # RuntimeError: built for another torch
    v2 = None

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
SCALE, RATIO = (0.2, 1.0), (3 / 4, 4 / 3)  # of a random crop: its share of the area, width by height
Transform = Callable[[Image.Image], Tensor]


def implementation() -> str:
    """For the report."""
    return "Pillow" if v2 is None else "torchvision.transforms.v2"


def training_transform(crop: int) -> Transform:
    """A random part of the image, resized, mirrored half of the time. Draws from torch's global generator."""
    if v2 is None:
        return lambda image: to_tensor(_random_flip(_random_crop(image, crop)))
    return v2.Compose([v2.RandomResizedCrop(crop, SCALE, RATIO), v2.RandomHorizontalFlip(), *_as_tensor()])


def test_transform(resize: int, crop: int) -> Transform:
    """The centre of the image resized to ``resize`` pixels at its shorter side."""
    if v2 is None:
        return lambda image: to_tensor(_centre_crop(_resized(image, resize), crop))
    return v2.Compose([v2.Resize(resize), v2.CenterCrop(crop), *_as_tensor()])


def _as_tensor() -> list[Callable]:
    return [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]


def to_tensor(image: Image.Image) -> Tensor:  # (3, H, W)
    """Normalised by the mean and deviation of ImageNet."""
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(image.height, image.width, 3)
    scaled = pixels.permute(2, 0, 1).float() / 255
    return (scaled - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _random_crop(image: Image.Image, side: int) -> Image.Image:
    for _ in range(10):
        area = image.width * image.height * _uniform(*SCALE)
        ratio = math.exp(_uniform(*map(math.log, RATIO)))
        width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < width <= image.width and 0 < height <= image.height:
            left = int(torch.randint(image.width - width + 1, ()))
            top = int(torch.randint(image.height - height + 1, ()))
            box = (left, top, left + width, top + height)
            return image.resize((side, side), Image.Resampling.BILINEAR, box=box)
    shorter = min(image.size)
    return _centre_crop(image, shorter).resize((side, side), Image.Resampling.BILINEAR)


def _random_flip(image: Image.Image) -> Image.Image:
    mirrored = bool(torch.rand(()) < 0.5)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else image


def _resized(image: Image.Image, shorter: int) -> Image.Image:
    scale = shorter / min(image.size)
    size = tuple(max(shorter, round(scale * side)) for side in image.size)
    return image.resize(size, Image.Resampling.BILINEAR)


def _centre_crop(image: Image.Image, side: int) -> Image.Image:
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    return image.crop((left, top, left + side, top + side))
