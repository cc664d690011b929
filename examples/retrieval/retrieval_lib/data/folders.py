"""Any folder of class sub-folders."""

from __future__ import annotations

from pathlib import Path

from retrieval_lib.data.files import indented
from retrieval_lib.data.task import Images, Task, checked
from retrieval_lib.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
LAYOUT = """
train/one_class/any_name.jpg    and     test/another_class/any_name.jpg
or
one_class/any_name.jpg          the first half of the classes, by name, to train on, the others to retrieve
"""


def read_folders(root: Path) -> Task:
    """Classes are folders: those below train/ and test/, or else two halves of those below ``root``."""
    if (root / "train").is_dir() and (root / "test").is_dir():
        names = class_folders(root / "train"), class_folders(root / "test")
    else:
        folders = class_folders(root)
        names = folders[: len(folders) // 2], folders[len(folders) // 2 :]
    if not names[0] or not names[1]:
        raise DataError(
            f"Folders of classes: got {len(names[0])} training and {len(names[1])} test classes in {root}.\n"
            f"Expected layout, below data.root:\n{indented(LAYOUT)}\nNothing is downloaded."
        )
    numbers = {name: number for number, name in enumerate(sorted({one.name for part in names for one in part}))}
    train, test = (images_of(part, numbers) for part in names)
    return checked(Task(f"Folders of {root.name}", train, test), root)


def class_folders(root: Path) -> list[Path]:
    """Sub-folders with images, by name."""
    if not root.is_dir():
        raise DataError(
            f"Folders of classes: {root} is no folder.\nExpected layout, below data.root:\n{indented(LAYOUT)}\n"
            "Nothing is downloaded."
        )
    return sorted(path for path in root.iterdir() if path.is_dir() and any(image_files(path)))


def image_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def images_of(folders: list[Path], numbers: dict[str, int]) -> Images:
    """All images of some class folders."""
    images = Images()
    for folder in folders:
        for path in image_files(folder):
            images.add(path, numbers[folder.name], f"{folder}")
    return images
