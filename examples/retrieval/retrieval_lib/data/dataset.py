"""Images as a torch data set whose augmentation depends on nothing but the seed in the key."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from retrieval_lib.data.task import Images
from retrieval_lib.data.transforms import Transform
from retrieval_lib.errors import DataError
from retrieval_lib.randomness import seeded_torch

Key = tuple[int, int]  # index of an image, seed of its augmentation


def load_rgb(path: Path, origin: str) -> Image.Image:
    """Decode a file wholly, so that a damaged one is noticed here, and turn it as its camera says."""
    try:
        with Image.open(path) as image:
            if image.mode in ("I", "F") or image.mode.startswith("I;"):
                raise DataError(
                    f"{path}: has pixels of {image.mode}, expected 8 bits a channel; it is named by {origin}"
                )
            return ImageOps.exif_transpose(image).convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as an image ({error}); it is named by {origin}") from error


class ImageDataset(Dataset[tuple[Tensor, int]]):
    """Pairs of a transformed image and its label.

    The seed comes with the key, not from a worker's generator: the same epoch is the same whichever process reads an
    image, however many there are, and wherever training was resumed.
    """

    def __init__(self, images: Images, labels: list[int], transform: Transform) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        index, seed = key
        image = load_rgb(self.images.paths[index], self.images.origins[index])
        with seeded_torch(seed):
            return self.transform(image), self.labels[index]


def damaged_images(images: Images) -> list[str]:
    """What is wrong with each image that cannot be decoded."""
    problems = []
    for path, origin in zip(images.paths, images.origins, strict=True):
        try:
            load_rgb(path, origin)
        except DataError as error:
            problems.append(str(error))
    return problems
