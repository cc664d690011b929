"""From recorded JSON lines to Markdown and pictures: ``python -m benchmarks.report``.

Writes docs/benchmarks.md and the pictures beside it, and puts the summary between the markers of the README.
``--from FOLDER`` reads and writes another folder instead, such as the one that ``python -m benchmarks.gpu`` made.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.harness.records import Record, read
from benchmarks.harness.steps import BOTH, FORWARD
from benchmarks.reporting import markdown
from benchmarks.reporting.pictures import draw

ROOT = Path(__file__).resolve().parents[1]
START, END = "<!-- benchmarks:start -->", "<!-- benchmarks:end -->"
_NAMES = {"cpu": "CPU", "cuda": "GPU"}


def between_markers(text: str, inserted: str) -> str:
    """``text`` with what is between the markers replaced."""
    if text.count(START) != 1 or text.count(END) != 1 or text.index(START) > text.index(END):
        raise ValueError(f"expected one {START} before one {END}")
    before, rest = text.split(START)
    return f"{before}{START}\n\n{inserted.strip()}\n\n{END}{rest.split(END)[1]}"


def summary(records: Sequence[Record], pictures: Sequence[str]) -> Iterator[str]:
    """For the README, one device after another and never in one table."""
    for kind, found in _by_device(records).items():
        yield f"### {_NAMES[kind]}\n"
        yield markdown.origin(found) + "\n"
        yield (
            f"By `python -m benchmarks{'' if kind == 'cpu' else '.gpu'}`; every measurement is in docs/benchmarks.md. "
            "Forward and backward: what ours takes beyond the inputs, then how many times slower / larger each "
            "baseline is, by medians of interleaved runs. A number below 1 means that the baseline is better.\n"
        )
        yield from markdown.ratios(found, BOTH)
        behind = list(markdown.slower(found, BOTH))
        if behind:
            yield "\nSlower than a baseline, beyond the spread of both:\n"
            yield from behind
    yield from (f"\n![{Path(picture).stem.replace('-', ' ')}]({picture})" for picture in pictures)


def in_full(records: Sequence[Record]) -> Iterator[str]:
    """For docs/benchmarks.md."""
    yield "# Benchmarks\n"
    yield "Written by `python -m benchmarks.report` from benchmarks/results/. Times are medians of interleaved runs.\n"
    for kind, found in _by_device(records).items():
        yield f"## {_NAMES[kind]}\n\n{markdown.origin(found)}\n"
        sections = (
            ("The device, measured", markdown.device(found)),
            ("Share of what the device can do", markdown.roofline(found)),
            ("Forward and backward", markdown.ratios(found, BOTH)),
            ("Forward", markdown.ratios(found, FORWARD)),
            ("Wanted and found", markdown.targets(found)),
            ("Native engine, torch backend and dense reference, forward and backward", markdown.engines(found)),
            ("Largest C that fits", markdown.largest(found)),
            ("All measurements", markdown.in_full(found)),
        )
        for title, lines in sections:
            listed = list(lines)
            if len(listed) > 2:
                yield f"\n### {title}\n"
                yield from listed


def _by_device(records: Sequence[Record]) -> dict[str, list[Record]]:
    kinds = dict.fromkeys(record["device_type"] for record in records)
    return {kind: [record for record in records if record["device_type"] == kind] for kind in kinds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--from", dest="folder", type=Path, help="a folder of JSON lines; the report is written there")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    options = parser.parse_args()
    source = options.folder or ROOT / "benchmarks" / "results"
    records = list(read(sorted(source.glob("*.jsonl"))))
    if not records:
        raise SystemExit(f"no records in {source}")
    if options.folder:
        pictures = [path for kind, found in _by_device(records).items() for path in draw(found, source, kind)]
        text = [*summary(records, [path.name for path in pictures]), "", *in_full(records)]
        (source / "report.md").write_text("\n".join(text) + "\n", encoding="utf-8")
        print(f"wrote {source / 'report.md'} and {len(pictures)} pictures")
        return
    docs = ROOT / "docs"
    pictures = [path for kind, found in _by_device(records).items() for path in draw(found, docs / "images", kind)]
    (docs / "benchmarks.md").write_text("\n".join(in_full(records)) + "\n", encoding="utf-8")
    shown = [path.relative_to(ROOT).as_posix() for path in pictures if "field" in path.name or "softmax" in path.name]
    readme = between_markers(options.readme.read_text(encoding="utf-8"), "\n".join(summary(records, shown)))
    options.readme.write_text(readme, encoding="utf-8")
    print(f"wrote docs/benchmarks.md, {len(pictures)} pictures and the section of {options.readme.name}")


if __name__ == "__main__":
    main()
