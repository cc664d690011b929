"""CUB-200-2011: the first 100 bird species to train on, the other 100 to retrieve."""

from __future__ import annotations

from pathlib import Path

from retrieval_lib.data.files import find_root, integer, read_rows
from retrieval_lib.data.task import Images, Task, checked
from retrieval_lib.errors import DataError

NAME = "CUB-200-2011"
CLASSES, TRAIN_CLASSES = 200, 100
LAYOUT = """
CUB_200_2011/
    images.txt                  lines 'image_id path', path below images/
    image_class_labels.txt      lines 'image_id class_id', class 1 to 200
    images/001.Black_footed_Albatross/Black_Footed_Albatross_0001_796111.jpg
"""


def read_cub(root: Path) -> Task:
    """Classes 1-100 train, 101-200 test."""
    folder = find_root(NAME, root, ("CUB_200_2011",), "images.txt", LAYOUT)
    classes = _classes(folder / "image_class_labels.txt")
    train, test = Images(), Images()
    seen = set()
    for origin, (identity, path) in read_rows(folder / "images.txt", ("image_id", "path")):
        if identity in seen:
            raise DataError(f"{origin}: image_id {identity} was there before")
        if identity not in classes:
            raise DataError(f"{origin}: image_id {identity} has no class in {folder / 'image_class_labels.txt'}")
        seen.add(identity)
        label = classes[identity]
        (train if label <= TRAIN_CLASSES else test).add(folder / "images" / path, label, origin)
    return checked(Task(NAME, train, test, official_sizes=(5864, 5924)), folder / "image_class_labels.txt")


def _classes(path: Path) -> dict[str, int]:
    classes: dict[str, int] = {}
    for origin, (identity, label) in read_rows(path, ("image_id", "class_id")):
        if identity in classes:
            raise DataError(f"{origin}: image_id {identity} was there before")
        classes[identity] = integer(origin, "class_id", label, lowest=1, highest=CLASSES)
    return classes
