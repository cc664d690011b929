"""Data sets of a few tiny images in the original layouts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

EACH = 6  # images of a class
SIDE = 36


def picture(path: Path, label: int, number: int) -> None:
    """A noisy image whose colours hint at its class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng((label, number))
    colours = np.random.default_rng(label).normal(0, 12, (2, 2, 3)) + draw.normal(128, 14, (2, 2, 3))
    pixels = np.kron(colours, np.ones((SIDE // 2, SIDE // 2, 1))) + draw.normal(0, 30, (SIDE, SIDE, 3))
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def cub(root: Path) -> Path:
    names, labels = [], []
    for label in (1, 2, 3, 4, 101, 102, 103):
        for number in range(EACH):
            name = f"{label:03d}.Bird/Bird_{number:04d}.jpg"
            picture(root / "images" / name, label, number)
            names.append(f"{len(names) + 1} {name}")
            labels.append(f"{len(names)} {label}")
    (root / "images.txt").write_text("\n".join(names) + "\n")
    (root / "image_class_labels.txt").write_text("\n".join(labels) + "\n")
    return root


CARS = (1, 2, 3, 98, 99, 100, 196)


def cars(root: Path) -> Path:
    """With one table of annotations."""
    entries = []
    for label in CARS:
        for number in range(EACH):
            name = f"car_ims/{len(entries) + 1:06d}.jpg"
            picture(root / name, label, number)
            entries.append((name, 1, 1, 30, 30, label, number % 2))
    fields = ("relative_im_path", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "test")
    savemat(root / "cars_annos.mat", {"annotations": structs(fields, entries)})
    return root


def cars_devkit(root: Path) -> Path:
    """The same images in the data set's own two parts."""
    for part, file in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        entries = []
        for label in CARS:
            for number in range(part == "test", EACH, 2):
                name = f"{len(entries) + 1:05d}.jpg"
                picture(root / f"cars_{part}" / name, label, number)
                entries.append((1, 1, 30, 30, label, name))
        fields = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")
        (root / file).parent.mkdir(exist_ok=True)
        savemat(root / file, {"annotations": structs(fields, entries)})
    return root


def structs(fields: Sequence[str], entries: Sequence[tuple[object, ...]]) -> np.ndarray:
    """A MATLAB array of structs, (1, N)."""
    array = np.zeros((1, len(entries)), dtype=[(field, object) for field in fields])
    array[0, :] = entries
    return array


def sop(root: Path) -> Path:
    count = 0
    for part, labels in (("train", (1, 2, 3, 4)), ("test", (11319, 11320, 11321))):
        lines = ["image_id class_id super_class_id path"]
        for label in labels:
            for number in range(EACH):
                count += 1
                name = f"bicycle_final/{label}_{number}.JPG"
                picture(root / name, label, number)
                lines.append(f"{count} {label} 1 {name}")
        (root / f"Ebay_{part}.txt").write_text("\n".join(lines) + "\n")
    return root


def inshop(root: Path) -> Path:
    lines = []
    for label in (1, 2, 3, 4, 11, 12, 13):
        for number in range(EACH):
            name = f"img/WOMEN/Dresses/id_{label:08d}/{number:02d}_1_front.jpg"
            picture(root / "Img" / name, label, number)
            status = "train" if label < 10 else "query" if number % 2 else "gallery"
            lines.append(f"{name} id_{label:08d} {status}")
    heading = f"{len(lines)}\nimage_name item_id evaluation_status\n"
    (root / "Eval").mkdir()
    (root / "Eval" / "list_eval_partition.txt").write_text(heading + "\n".join(lines) + "\n")
    return root


def lfw(root: Path) -> Path:
    """Four people in the pairs of ten folds, four others to train on."""
    people = [f"Person_{letter}" for letter in "ABCDEFGH"]
    for label, name in enumerate(people):
        for number in range(1, EACH + 1):
            picture(root / "lfw" / name / f"{name}_{number:04d}.jpg", label, number)
    lines = ["10\t2"]
    for fold in range(10):
        for index in range(2):
            first = 1 + (fold + index) % EACH
            lines.append(f"{people[(fold + index) % 4]}\t{first}\t{1 + first % EACH}")
        lines += [f"{people[(fold + i) % 4]}\t{1 + i}\t{people[(fold + i + 1) % 4]}\t{2 + i}" for i in range(2)]
    (root / "pairs.txt").write_text("\n".join(lines) + "\n")
    return root


def folders(root: Path) -> Path:
    for label, name in enumerate(
        ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay", "koi", "lark")
    ):
        for number in range(EACH):
            picture(root / name / f"{number}.png", label, number)
    return root


MAKERS: dict[str, Callable[[Path], Path]] = {
    "cub": cub,
    "cars": cars,
    "sop": sop,
    "inshop": inshop,
    "lfw": lfw,
    "folders": folders,
}
