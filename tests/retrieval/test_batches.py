"""Batches, label noise, held-out classes, augmentation: functions of seeds alone."""

from __future__ import annotations

import itertools
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from retrieval_lib.data import transforms
from retrieval_lib.data.dataset import ImageDataset
from retrieval_lib.data.folders import read_folders
from retrieval_lib.data.loading import batches_of, make_loader
from retrieval_lib.data.sampling import Batches, InOrder
from retrieval_lib.data.splits import flipped, split_for_training
from retrieval_lib.errors import ConfigError
from retrieval_lib.randomness import generator_states, restore_generator_states, seed_everything

LABELS = [i % 5 for i in range(43)]


@pytest.mark.parametrize("per_class", [None, 2])
def test_ranks_share_the_batches_of_one_process(per_class: int | None) -> None:
    whole = Batches(LABELS, 8, per_class, seed=3)
    parts = [Batches(LABELS, 8, per_class, seed=3, rank=rank, world_size=2) for rank in range(2)]
    for batches in (whole, *parts):
        batches.start_at(7)
    assert len(whole) == 5
    assert list(whole) == [a + b for a, b in zip(*parts, strict=True)]


def test_epochs_differ_and_resume_within() -> None:
    batches = Batches(LABELS, 8, None, seed=3)
    epochs = []
    for epoch in (0, 1):
        batches.start_at(epoch)
        epochs.append(list(batches))
    assert epochs[0] != epochs[1]
    batches.start_at(1, step=3)
    assert list(batches) == epochs[1][3:]
    keys = list(itertools.chain(*epochs[0], *epochs[1]))
    assert len({seed for _, seed in keys}) == len(keys)
    assert len({index for index, _ in itertools.chain(*epochs[0])}) == 40


def test_per_class_batches_hold_so_many_of_each() -> None:
    for batch in Batches(LABELS, 8, 4, seed=0):
        assert sorted(Counter(LABELS[index] for index, _ in batch).values()) == [4, 4]


def test_drawing_batches_leaves_the_global_generators_alone() -> None:
    before = generator_states()
    list(Batches(LABELS, 8, 4, seed=0))
    list(Batches(LABELS, 8, None, seed=0))
    after = generator_states()
    assert torch.equal(before["torch"], after["torch"])
    assert torch.equal(before["numpy"][1], after["numpy"][1]) and before["numpy"][2:] == after["numpy"][2:]


@pytest.mark.parametrize(
    ("size", "per_class", "ranks", "message"),
    [
        (44, None, 1, "at most the 43 training images"),
        (9, None, 2, "a multiple of the 2 ranks"),
        (9, 2, 1, "a multiple of data.images_per_class = 2"),
        (12, 2, 1, "2 of 5 classes do not fill a batch of 12"),
    ],
)
def test_batches_that_cannot_be(size: int, per_class: int | None, ranks: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Batches(LABELS, size, per_class, seed=0, world_size=ranks)


def test_evaluation_reads_every_image_once() -> None:
    parts = [[index for batch in InOrder(10, 3, rank, 4) for index, _ in batch] for rank in range(4)]
    assert sorted(itertools.chain(*parts)) == list(range(10))
    assert parts[1] == [1, 5, 9]


def test_noise_flips_its_share_of_labels() -> None:
    noisy = flipped(LABELS, 5, 0.2, seed=0)
    assert sum(a != b for a, b in zip(noisy, LABELS, strict=True)) == round(0.2 * 43)
    assert set(noisy) == set(range(5))
    assert flipped(LABELS, 5, 0.0, seed=0) == LABELS
    assert noisy != flipped(LABELS, 5, 0.2, seed=1)


def test_validation_classes_are_held_out(data: Callable[[str], Path]) -> None:
    images = read_folders(data("folders")).train
    splits = [split_for_training(images, validation_share=0.4, label_noise=0.0, seed=seed) for seed in (0, 1)]
    for split in splits:
        assert split.validation is not None
        assert len(split.validation.classes) == 2
        assert sorted(split.validation.classes + split.images.classes) == images.classes
        assert split.validation.classes == splits[0].validation.classes
        assert set(split.labels) == set(range(4)) and split.num_classes == 4
    with pytest.raises(ConfigError, match="leaves 1 to train on"):
        split_for_training(images, validation_share=0.9, label_noise=0.0, seed=0)


@pytest.mark.parametrize("workers", [0, 2])
def test_augmentation_depends_on_the_key_alone(data: Callable[[str], Path], workers: int) -> None:
    images = read_folders(data("folders")).train
    dataset = ImageDataset(images, images.labels, transforms.training_transform(24))
    keys = [[(5, 1), (5, 2)], [(5, 1), (6, 1)]]
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with batches_of(make_loader(dataset, keys, workers=workers, pin_memory=False)) as batches:
        (first, labels), (second, _) = batches
    assert torch.equal(torch.get_rng_state(), before)
    assert first.shape == (2, 3, 24, 24) and labels.tolist() == [images.labels[5]] * 2
    assert first[0].equal(second[0]) and not first[0].equal(first[1])


class Masks(Dataset):
    """Which signals the process that reads is deaf to."""

    def __getitem__(self, key: object) -> int:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        return int({signal.SIGINT, signal.SIGTERM} <= blocked)


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="Windows")
def test_workers_are_deaf_to_signals_and_the_main_process_is_not() -> None:
    with batches_of(make_loader(Masks(), [[(0, 0)]], workers=1, pin_memory=False)) as batches:
        assert next(batches).tolist() == [1]
        assert Masks()[0] == 0
    assert Masks()[0] == 0


def test_small_transforms_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transforms, "v2", None)
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, 30:] = 255  # black left, white right
    image = Image.fromarray(pixels)
    centre = transforms.test_transform(20, 16)(image)
    assert centre.shape == (3, 16, 16)
    low, high = (-torch.tensor(transforms.MEAN) / torch.tensor(transforms.STD)), (1 - torch.tensor(transforms.MEAN))
    torch.testing.assert_close(centre[:, 8, 0], low)
    torch.testing.assert_close(centre[:, 8, 15], high / torch.tensor(transforms.STD))
    torch.manual_seed(0)
    crops = [transforms.training_transform(16)(image) for _ in range(40)]
    brighter = [bool(crop[0, :, 0].mean() > crop[0, :, -1].mean()) for crop in crops]
    assert 5 < sum(brighter) < 35  # mirrored half of the time
    assert all(crop.shape == (3, 16, 16) for crop in crops)


def test_generator_states_come_back() -> None:
    seed_everything(5)
    torch.randn(3)
    states = generator_states()

    def draws() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    expected = draws()
    restore_generator_states(states)
    assert draws() == expected
