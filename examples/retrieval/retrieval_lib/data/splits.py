"""Training labels as the loss sees them: classes held out for validation, noise, numbers from 0 on."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from retrieval_lib.data.task import Images
from retrieval_lib.errors import ConfigError
from retrieval_lib.randomness import derived_seed


@dataclass
class TrainingSplit:
    """What is trained on and, of other classes, what the epoch is chosen on."""

    images: Images
    labels: list[int]  # 0 to num_classes - 1, with noise
    num_classes: int
    validation: Images | None


def split_for_training(images: Images, *, validation_share: float, label_noise: float, seed: int) -> TrainingSplit:
    """Hold classes out, number the others, flip some labels. The classes held out are the same for every seed."""
    classes = images.classes
    validation = None
    if validation_share:
        held_out = max(2, round(validation_share * len(classes)))
        if len(classes) - held_out < 2:
            raise ConfigError(
                f"data.validation_share: {validation_share} of {len(classes)} classes leaves {len(classes) - held_out} "
                "to train on, expected at least 2"
            )
        order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(0)).tolist()
        validation = images.of_classes([classes[i] for i in order[:held_out]])
        classes = sorted(classes[i] for i in order[held_out:])
        images = images.of_classes(classes)
    numbers = {label: number for number, label in enumerate(classes)}
    labels = [numbers[label] for label in images.labels]
    return TrainingSplit(images, flipped(labels, len(classes), label_noise, seed), len(classes), validation)


def flipped(labels: list[int], num_classes: int, share: float, seed: int) -> list[int]:
    """Labels of which a share was changed to another class, each with the same probability."""
    generator = torch.Generator().manual_seed(derived_seed(seed, 1))
    chosen = torch.randperm(len(labels), generator=generator)[: round(share * len(labels))].tolist()
    shifts = torch.randint(1, num_classes, (len(chosen),), generator=generator).tolist()
    noisy = list(labels)
    for index, shift in zip(chosen, shifts, strict=True):
        noisy[index] = (labels[index] + shift) % num_classes
    return noisy
