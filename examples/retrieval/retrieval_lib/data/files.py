"""Finding a data set and reading its text tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from retrieval_lib.errors import DataError


def find_root(name: str, root: Path, inner: Sequence[str], marker: str, layout: str) -> Path:
    """The folder that holds ``marker``: ``root`` itself or one of the sub-folders that archives unpack to."""
    candidates = [root, *(root / folder for folder in inner)]
    for candidate in candidates:
        if (candidate / marker).exists():
            return candidate
    looked = "\n".join(f"    {candidate / marker}" for candidate in candidates)
    raise DataError(
        f"{name}: not found. Looked for\n{looked}\nExpected layout, below data.root = {root}:\n{indented(layout)}\n"
        "Nothing is downloaded: get the data set from its authors and give its folder by --data or data.root."
    )


def indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines())


def read_rows(
    path: Path, wanted: Sequence[str], *, skip: int = 0, separator: str | None = None
) -> Iterator[tuple[str, list[str]]]:
    """For each line its origin ("file, line n") and its fields, which must be as many as ``wanted`` names.

    The last field may contain the separator if that is white space.
    """
    for origin, line in read_lines(path, skip=skip):
        fields = line.split(separator, len(wanted) - 1)
        if len(fields) != len(wanted):
            raise DataError(f"{origin}: got {line!r}, expected '{' '.join(wanted)}'")
        yield origin, fields


def read_lines(path: Path, *, skip: int = 0) -> Iterator[tuple[str, str]]:
    """For each line that is not blank its origin and its text."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no UTF-8 text ({error})") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if number > skip and line.strip():
            yield f"{path}, line {number}", line.strip()


def integer(origin: str, name: str, text: str, *, lowest: int, highest: int | None = None) -> int:
    """A number within its range."""
    allowed = f"{lowest} to {highest}" if highest is not None else f"{lowest} or more"
    try:
        number = int(text)
    except ValueError:
        raise DataError(f"{origin}: {name} is {text!r}, expected an integer") from None
    if number < lowest or (highest is not None and number > highest):
        raise DataError(f"{origin}: {name} is {number}, expected {allowed}")
    return number
