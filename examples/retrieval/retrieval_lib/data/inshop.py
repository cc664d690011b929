"""In-Shop Clothes Retrieval (DeepFashion): query images against a gallery."""

from __future__ import annotations

from pathlib import Path

from retrieval_lib.data.files import find_root, integer, read_lines, read_rows
from retrieval_lib.data.task import Images, Task, checked
from retrieval_lib.errors import DataError

NAME = "In-Shop"
TABLE = "list_eval_partition.txt"
LAYOUT = """
list_eval_partition.txt         (here, in Eval/ or in Anno/) the number of images, a heading, then lines
                                'image_name item_id evaluation_status', status train, query or gallery
img/WOMEN/Dresses/id_00000002/02_1_front.jpg     (here or in Img/)
"""


def read_inshop(root: Path) -> Task:
    """The partition that its file gives; item ids are the classes."""
    table = find_root(NAME, root, ("Eval", "Anno"), TABLE, LAYOUT) / TABLE
    base = next((place for place in (root / "Img", root) if (place / "img").is_dir()), root)
    parts = {"train": Images(), "query": Images(), "gallery": Images()}
    for origin, (path, item, status) in read_rows(table, ("image_name", "item_id", "evaluation_status"), skip=2):
        if status not in parts:
            raise DataError(f"{origin}: evaluation_status is {status!r}, expected train, query or gallery")
        prefix, _, number = item.partition("_")
        if prefix != "id":
            raise DataError(f"{origin}: item_id is {item!r}, expected one such as id_00000002")
        parts[status].add(base / path, integer(origin, "item_id", number, lowest=0), origin)
    origin, announced = next(read_lines(table), (f"{table}, line 1", ""))
    found = sum(map(len, parts.values()))
    if integer(origin, "number of images", announced, lowest=0) != found:
        raise DataError(f"{origin}: announces {announced} images, but {found} follow: the file is not whole")
    task = Task(NAME, parts["train"], parts["query"], parts["gallery"], official_sizes=(25882, 14218, 12612))
    return checked(task, table)
