"""The report page of a set of runs: one HTML file that needs no other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retrieval_lib.report.page import page


def write_report(folder: Path, results: Sequence[dict[str, Any]]) -> Path:
    """Write ``report.html`` into the folder of the runs."""
    path = folder / "report.html"
    path.write_text(page(results), encoding="utf-8")
    return path
