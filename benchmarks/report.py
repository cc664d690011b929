"""From recorded JSON lines to Markdown and pictures: ``python -m benchmarks.report``.

Puts eight rows between the markers of the README and the rest between those of docs/benchmarks.md, with pictures.
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


def summary(records: Sequence[Record], pictures: Sequence[str] = ()) -> Iterator[str]:
    """Write the rows of the README, which show where the gain is and where it is not, a table for each device."""
    yield (
        "Forward and backward; how many times the time / the extra memory of ours each takes, by medians of "
        "interleaved runs. Below 1 it is better than ours. [All cases, and how they are measured](docs/benchmarks.md)."
    )
    for device, found in _by_device(records).items():
        yield f"\n### {_title(device, found)}\n"
        yield from markdown.highlights(found)
        yield "\n" + markdown.origin(found)
    yield from (f"\n![{Path(picture).stem.replace('-', ' ')}]({picture})" for picture in pictures)


def in_full(records: Sequence[Record], pictures: Sequence[str] = (), every: bool = False) -> Iterator[str]:
    """Write the section of docs/benchmarks.md; with ``every``, also each measurement on a line of its own."""
    for device, found in _by_device(records).items():
        yield f"## {_title(device, found)}\n\n{markdown.origin(found)}\n"
        sections = (
            ("The device, measured", markdown.device(found)),
            ("Share of what the device can do", markdown.roofline(found)),
            ("Where the time of a step goes", markdown.kernels(found)),
            ("Forward and backward", markdown.ratios(found, BOTH)),
            ("Forward and backward, kernels alone", markdown.ratios(found, BOTH, "device_s")),
            ("Forward", markdown.ratios(found, FORWARD)),
            ("Slower than a baseline, beyond the spread of both", ("", "", *markdown.slower(found, BOTH))),
            ("Native engine, torch backend and dense reference, forward and backward", markdown.engines(found)),
            ("Largest C that fits", markdown.largest(found)),
            *(
                [("Wanted and found", markdown.targets(found)), ("All measurements", markdown.in_full(found))]
                if every
                else []
            ),
        )
        for title, lines in sections:
            listed = [line for line in lines if line]
            if len(listed) > (0 if title.startswith("Slower") else 2):
                yield f"\n### {title}\n"
                yield from listed
    yield from (f"\n![{Path(picture).stem.replace('-', ' ')}]({picture})" for picture in pictures)


def _by(key: str, records: Sequence[Record]) -> dict[str, list[Record]]:
    values = dict.fromkeys(record[key] for record in records)
    return {value: [record for record in records if record[key] == value] for value in values}


def _by_device(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Records of each processor by its name: a ratio of times on one says little of another."""
    return _by("device", records)


def _title(device: str, records: Sequence[Record]) -> str:
    return f"{_NAMES[records[0]['device_type']]}: {device}"


def _cpus(records: Sequence[Record]) -> list[list[Record]]:
    """Records of each CPU, the one that was measured most at one commit last."""
    found = _by_device(_by("device_type", records).get("cpu", []))
    return sorted(found.values(), key=lambda of_one: max(map(len, _by("commit", of_one).values())))


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
        kinds = _by("device_type", records)
        pictures = [path.name for kind, found in kinds.items() for path in draw(found, source, kind)]
        text = [*summary(records), "", *in_full(records, pictures, every=True)]
        (source / "report.md").write_text("\n".join(text) + "\n", encoding="utf-8")
        print(f"wrote {source / 'report.md'} and {len(pictures)} pictures")
        return
    images = ROOT / "docs" / "images"
    cpus = _cpus(records)  # of several types on a GPU no picture says much
    pictures = dict.fromkeys(path.name for of_one in cpus for path in draw(of_one, images, "cpu"))
    shown = [f"images/{name}" for name in pictures if "highlights" not in name]
    few = [*(cpus[-1] if cpus else ()), *_by("device_type", records).get("cuda", [])]
    for page, lines in ((options.readme, summary(few)), (ROOT / "docs" / "benchmarks.md", in_full(records, shown))):
        page.write_text(between_markers(page.read_text(encoding="utf-8"), "\n".join(lines)), encoding="utf-8")
    print(f"wrote {len(pictures)} pictures, and between the markers of docs/benchmarks.md and {options.readme.name}")


if __name__ == "__main__":
    main()
