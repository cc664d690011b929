"""Labeled Faces in the Wild: 6,000 pairs in ten folds, same person or not."""

from __future__ import annotations

from pathlib import Path

from retrieval_lib.data.files import find_root, indented, integer, read_lines
from retrieval_lib.data.folders import class_folders, images_of
from retrieval_lib.data.task import Images, Pairs, Task, checked
from retrieval_lib.errors import DataError

NAME = "LFW"
FOLDERS = ("lfw", "lfw-deepfunneled", "lfw_funneled")
LAYOUT = """
pairs.txt                       '10 300', then for each of 10 folds 300 lines 'name number number' (same person)
                                and 300 lines 'name number name number' (different people)
lfw/Aaron_Eckhart/Aaron_Eckhart_0001.jpg      (or lfw-deepfunneled/, lfw_funneled/)
"""


def read_lfw(root: Path, train_root: Path | None) -> Task:
    """Pairs of ``pairs.txt`` to test on; to train on, people who are in none of them.

    Args:
        root: folder of LFW.
        train_root: folder of class sub-folders of faces, named as in LFW where people are the same; None for LFW's own.
    """
    folder = find_root(NAME, root, FOLDERS, "pairs.txt", LAYOUT)
    faces = next((place / name for place in (folder, root) for name in FOLDERS if (place / name).is_dir()), None)
    if faces is None:
        raise DataError(f"{NAME}: no {', '.join(FOLDERS)} in {root}.\nExpected layout:\n{indented(LAYOUT)}")
    test, pairs, people = _read_pairs(folder / "pairs.txt", faces)
    others = [one for one in class_folders(train_root or faces) if one.name not in people]
    numbers = {one.name: len(people) + number for number, one in enumerate(others)}
    task = Task(NAME, images_of(others, numbers), test, pairs=pairs, official_sizes=(None, None, 6000))
    return checked(task, train_root or faces)


def _read_pairs(path: Path, faces: Path) -> tuple[Images, Pairs, dict[str, int]]:
    """The images of all pairs, the pairs, and a number for each person in them."""
    lines = list(read_lines(path))
    origin, heading = lines[0] if lines else (f"{path}, line 1", "")
    if len(heading.split()) != 2:
        raise DataError(f"{origin}: got {heading!r}, expected 'folds pairs', such as '10 300'")
    folds, length = (integer(origin, "heading", text, lowest=1) for text in heading.split())
    if folds < 2:
        raise DataError(f"{origin}: got {folds} folds, expected at least 2")
    if len(lines) - 1 != 2 * folds * length:
        raise DataError(f"{origin}: announces {2 * folds * length} pairs, but {len(lines) - 1} lines follow")
    images, pairs = Images(), Pairs()
    people: dict[str, int] = {}
    places: dict[Path, int] = {}
    for count, (origin, line) in enumerate(lines[1:]):
        is_same = count % (2 * length) < length
        fields = line.split()
        if len(fields) != (3 if is_same else 4):
            expected = "'name number number'" if is_same else "'name number name number'"
            raise DataError(f"{origin}: got {line!r}, expected {expected}")
        ends = [(fields[0], fields[1]), (fields[0], fields[2]) if is_same else (fields[2], fields[3])]
        indices = []
        for name, number in ends:
            file = faces / name / f"{name}_{integer(origin, 'number', number, lowest=1):04d}.jpg"
            if file not in places:
                places[file] = len(images)
                images.add(file, people.setdefault(name, len(people)), origin)
            indices.append(places[file])
        pairs.first.append(indices[0])
        pairs.second.append(indices[1])
        pairs.same.append(is_same)
        pairs.fold.append(count // (2 * length))
    return images, pairs, people
