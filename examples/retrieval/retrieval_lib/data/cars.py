"""Cars-196: the first 98 models to train on, the other 98 to retrieve."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from retrieval_lib.data.files import indented
from retrieval_lib.data.task import Images, Task, checked
from retrieval_lib.errors import DataError

NAME = "Cars-196"
CLASSES, TRAIN_CLASSES = 196, 98
LAYOUT = """
cars_annos.mat                  with all images in car_ims/
or
devkit/cars_train_annos.mat     with images in cars_train/
cars_test_annos_withlabels.mat  (here or in devkit/) with images in cars_test/
"""


def read_cars(root: Path) -> Task:
    """Classes 1-98 train, 99-196 test; the data set's own train and test parts are joined."""
    folder, tables = _find(root)
    train, test = Images(), Images()
    for table, images in tables:
        for origin, path, label in _entries(table):
            if not 1 <= label <= CLASSES:
                raise DataError(f"{origin}: class is {label}, expected 1 to {CLASSES}")
            (train if label <= TRAIN_CLASSES else test).add(images / path, label, origin)
    return checked(Task(NAME, train, test, official_sizes=(8054, 8131)), folder)


def _find(root: Path) -> tuple[Path, list[tuple[Path, Path]]]:
    """Folder, and its tables each with the folder that its paths are relative to."""
    looked = []
    for folder in (root, root / "cars196", root / "stanford_cars"):
        one = folder / "cars_annos.mat"
        train = folder / "devkit" / "cars_train_annos.mat"
        tests = [place / "cars_test_annos_withlabels.mat" for place in (folder, folder / "devkit")]
        if one.is_file():
            return folder, [(one, folder)]
        test = next((path for path in tests if path.is_file()), None)
        if train.is_file() and test is not None:
            return folder, [(train, folder / "cars_train"), (test, folder / "cars_test")]
        looked += [one, train, *tests]
    raise DataError(
        f"{NAME}: not found. Looked for\n"
        + "\n".join(f"    {path}" for path in looked)
        + f"\nExpected layout, below data.root = {root}:\n{indented(LAYOUT)}\n"
        "Nothing is downloaded: get the data set from its authors and give its folder by --data or data.root."
    )


def _entries(table: Path) -> Iterator[tuple[str, str, int]]:
    """Origin, path and class of each annotation."""
    from scipy.io import loadmat

    try:
        annotations: Any = loadmat(str(table), squeeze_me=True)["annotations"]
        names = annotations.dtype.names or ()
    except (KeyError, OSError, TypeError, ValueError, NotImplementedError) as error:
        raise DataError(f"{table}: not a MATLAB file with 'annotations' ({type(error).__name__}: {error})") from error
    path = next((name for name in ("relative_im_path", "fname") if name in names), None)
    if path is None or "class" not in names:
        raise DataError(f"{table}: annotations have {', '.join(names)}, expected class and relative_im_path or fname")
    for number, entry in enumerate(annotations.reshape(-1), start=1):
        origin = f"{table}, entry {number}"
        try:
            label = int(entry["class"])
        except (TypeError, ValueError):
            raise DataError(f"{origin}: class is {entry['class']!r}, expected an integer") from None
        yield origin, str(entry[path]), label
