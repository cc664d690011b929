"""The code of the README and of every page runs and prints what it says; links and pictures are there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from dmlkernels import __main__ as command_line

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
MARKDOWN = [*PAGES, *sorted({*ROOT.glob("*.md"), *(ROOT / "benchmarks").glob("*.md")} - {ROOT / "README.md"})]
RUN_ELSEWHERE = {DOCS / "adding_a_loss.md": "tests/test_guide.py"}
NEEDS_ANOTHER_MACHINE = "not run:"  # <!-- not run: needs two GPUs --> before a block says why

FENCE = re.compile(
    r"(?:<!-- (?P<note>[^\n]*) -->\n\n?)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
IMAGE = re.compile(r"(?:!\[[^\]]*\]\(|\{(?:image|figure)\}\s+)([^)\s]+\.png)")


class Block(NamedTuple):
    """One fenced block of a page."""

    language: str
    code: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        note = found["note"] or ""
        if note.startswith(NEEDS_ANOTHER_MACHINE):
            assert len(note) > len(NEEDS_ANOTHER_MACHINE) + 3, f"{page}: say why a block is not run"
            continue
        yield Block(found["language"], found["code"], text[: found.start("code")].count("\n"))


def promised(code: str) -> list[str]:
    """Collect what lines ``print(...)  # so`` say that they print."""
    return re.findall(r"^\s*print\(.*\)  # (.*)$", code, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_code_runs(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The blocks of a page run one after the other, as a reader would paste them."""
    if page in RUN_ELSEWHERE:
        assert (ROOT / RUN_ELSEWHERE[page]).is_file()
        return
    names: dict[str, object] = {"__name__": "__main__"}
    torch.manual_seed(0)
    for block in blocks(page):
        if block.language == "python":
            # As many empty lines in front as make line numbers those of the page.
            exec(compile("\n" * block.line + block.code, str(page), "exec"), names)
            printed = capsys.readouterr().out.splitlines()
            expected = promised(block.code)
            if expected:
                assert printed == expected, f"{page}:{block.line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_run(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``python -m dmlkernels ...``, with the output of the block behind it if that is one of text."""
    found = list(blocks(page))
    for block, following in pairwise([*found, None]):
        if block is None or block.language != "bash":
            continue
        for line in block.code.replace("\\\n", "").splitlines():
            if line.startswith("python -m dmlkernels"):
                command_line.main(shlex.split(line, comments=True)[3:])
        printed = capsys.readouterr().out
        if following is not None and following.language == "text" and printed:
            assert printed.strip() == following.code.strip(), f"{page}:{block.line}"


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_that_are_linked_exist(page: Path) -> None:
    """Anchors, and links between pages of the site, are checked when that is built."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in LINK.findall(prose):
        if not re.match(r"https?:|mailto:|#", target):
            assert (page.parent / target.split("#")[0]).exists(), f"{page.name} links to {target}"


def test_pictures_are_linked() -> None:
    linked = set()
    for page in MARKDOWN:
        for picture in IMAGE.findall(page.read_text(encoding="utf-8")):
            linked.add((page.parent / picture).resolve())
    there = {path.resolve() for path in (DOCS / "images").iterdir()}
    assert {path.name for path in there - linked} == set()
    assert {path.name for path in linked - there} == set()


def test_the_page_of_ranges_is_that_of_its_script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its introduction, with the numbers of pixels and the untrained network; and the tables are made, on little."""
    pytest.importorskip("sklearn")
    monkeypatch.syspath_prepend(str(DOCS))
    import sweep

    introduction = next(sweep.report(seeds=3, epochs=sweep.EPOCHS))
    assert (DOCS / "ranges.md").read_text(encoding="utf-8").startswith(introduction)
    name, (loss, fixed, option, values) = next(iter(sweep.OPTIONS.items()))
    monkeypatch.setattr(sweep, "OPTIONS", {name: (loss, fixed, option, values[:1])})
    monkeypatch.setattr(sweep, "OPTIMISERS", {"AdamW, 1e-3": sweep.OPTIMISERS["AdamW, 1e-3"]})
    monkeypatch.setattr(sweep, "FACTORS", (1.0,))
    sweep.main(["--seeds", "1", "--epochs", "1", "--out", str(tmp_path / "ranges.md")])
    rows = [line for line in (tmp_path / "ranges.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 1 + 2 + 3


def test_pictures_are_those_of_their_script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(DOCS))
    import pictures

    assert {name for name in pictures.PICTURES if not (DOCS / "images" / name).is_file()} == set()
    pictures.draw(["loss-potential-field.png"], tmp_path)
    assert (tmp_path / "loss-potential-field.png").read_bytes().startswith(b"\x89PNG")
