"""What every reader of a data set returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from retrieval_lib.errors import DataError


@dataclass
class Images:
    """Labelled image files."""

    paths: list[Path] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)  # the file and line that names each

    def add(self, path: Path, label: int, origin: str) -> None:
        """One more; the file must be there."""
        if not path.is_file():
            raise DataError(f"{origin}: names {path}, which is no file")
        self.paths.append(path)
        self.labels.append(label)
        self.origins.append(origin)

    def __len__(self) -> int:
        return len(self.paths)

    def of_classes(self, classes: Sequence[int]) -> Images:
        """Those of some classes, in the same order."""
        wanted = set(classes)
        chosen = [i for i, label in enumerate(self.labels) if label in wanted]
        parts = ([values[i] for i in chosen] for values in (self.paths, self.labels, self.origins))
        return Images(*parts)

    @property
    def classes(self) -> list[int]:
        return sorted(set(self.labels))


@dataclass
class Pairs:
    """Pairs of test images for verification, in folds."""

    first: list[int] = field(default_factory=list)  # indices into the test images
    second: list[int] = field(default_factory=list)
    same: list[bool] = field(default_factory=list)
    fold: list[int] = field(default_factory=list)


@dataclass
class Task:
    """Images to train on, and images of other classes to test on."""

    name: str
    train: Images
    test: Images  # queries, and the images to find unless there is a gallery
    gallery: Images | None = None
    pairs: Pairs | None = None  # verification instead of retrieval
    official_sizes: tuple[int | None, ...] = ()  # of the whole data set, in the order of sizes; None for any

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of images (of pairs last, for verification)."""
        more = [len(self.gallery)] if self.gallery else [len(self.pairs.same)] if self.pairs else []
        return (len(self.train), len(self.test), *more)

    @property
    def is_official(self) -> bool:
        """Whether all of the published data set is there, so that published numbers may be compared."""
        return len(self.sizes) == len(self.official_sizes) and all(
            expected in (None, size) for size, expected in zip(self.sizes, self.official_sizes, strict=True)
        )


def checked(task: Task, source: Path) -> Task:
    """Refuse a task that cannot be trained or tested."""
    if len(task.train.classes) < 2:
        raise DataError(f"{source}: gives {len(task.train.classes)} training classes, expected at least 2")
    parts = {"test": task.test} if task.gallery is None else {"query": task.test, "gallery": task.gallery}
    for name, part in parts.items():
        if not len(part):
            raise DataError(f"{source}: gives no {name} image")
        if task.gallery is None and len(part) < 2:
            raise DataError(
                f"{source}: gives one {name} image, expected at least 2, which are searched among each other"
            )
        shared = set(part.classes) & set(task.train.classes)
        if shared:
            raise DataError(f"{source}: class {min(shared)} is both a training and a {name} class")
    return task
