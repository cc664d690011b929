"""Count, model, and write the tables and the picture of docs/scaling.md: ``python -m benchmarks.scaling``."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from benchmarks.scaling import report
from benchmarks.scaling.count import count_all
from benchmarks.scaling.model import Machine
from benchmarks.scaling.traffic import calls

DOCS = Path(__file__).resolve().parents[2] / "docs"


def main() -> int:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    counted = count_all(report.counted_steps()) | count_all(report.larger_steps())
    for (name, step), made in counted.items():
        expected = Counter((call.operation, call.num_bytes, call.ranks) for call in calls(name, step))
        found = Counter((call.operation, call.num_bytes, call.ranks) for call in made)
        if found != expected:
            print(f"{name} {step}: counted {found}, the formulas say {expected}", file=sys.stderr)
            return 1
    page = DOCS / "scaling.md"
    page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")
    report.draw(Machine(), DOCS / "images" / "scaling.png")
    print("wrote the tables of docs/scaling.md, which are what was counted, and docs/images/scaling.png")
    return 0


def with_tables(page: str) -> str:
    """The page with its three tables made anew."""
    machine = Machine()
    tables = {
        "counted": report.counted_table(),
        "modelled": report.modelled_table(machine),
        "largest": report.largest_table(machine),
    }
    for name, lines in tables.items():
        start, end = f"<!-- {name}:start -->\n", f"<!-- {name}:end -->"
        before, _, rest = page.partition(start)
        _, _, after = rest.partition(end)
        page = before + start + "\n".join(lines) + "\n" + end + after
    return page


if __name__ == "__main__":
    sys.exit(main())
