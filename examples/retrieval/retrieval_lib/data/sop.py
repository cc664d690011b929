"""Stanford Online Products: 11,318 products to train on, 11,316 others to retrieve."""

from __future__ import annotations

from pathlib import Path

from retrieval_lib.data.files import find_root, integer, read_rows
from retrieval_lib.data.task import Images, Task, checked

NAME = "Stanford Online Products"
COLUMNS = ("image_id", "class_id", "super_class_id", "path")
LAYOUT = """
Stanford_Online_Products/
    Ebay_train.txt              a heading, then lines 'image_id class_id super_class_id path'
    Ebay_test.txt               the same
    bicycle_final/111085122871_0.JPG
"""


def read_sop(root: Path) -> Task:
    """The split that its two files give."""
    folder = find_root(NAME, root, ("Stanford_Online_Products",), "Ebay_train.txt", LAYOUT)
    train, test = (_read(folder, name) for name in ("Ebay_train.txt", "Ebay_test.txt"))
    return checked(Task(NAME, train, test, official_sizes=(59551, 60502)), folder)


def _read(folder: Path, name: str) -> Images:
    images = Images()
    for origin, (_, label, _, path) in read_rows(folder / name, COLUMNS, skip=1):
        images.add(folder / path, integer(origin, "class_id", label, lowest=1), origin)
    return images
