"""Runs as tables for people and as JSON for programs."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

import dmlkernels as dml
from digits_lib.growth import Growth
from digits_lib.objectives import CATALOGUE
from digits_lib.training import Run

COLUMNS = {
    "recall_at_1": "Recall@1 (%)",
    "map_at_r": "MAP@R (%)",
    "decidability": "d'",
    "same_background_at_1": "same background@1 (%)",
}


def title_of(run: Run) -> str:
    """Name of a run's row: the loss, and what it was spared."""
    title = CATALOGUE[run.job.loss].title
    return f"{title}, no confounder in training" if run.job.background == "shuffled" else title


def by_title(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs that differ in their seed only, in the order in which they came."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(title_of(run), []).append(run)
    return groups


def table(runs: Sequence[Run]) -> str:
    """Markdown: rows for raw pixels and the untrained network, and one for each loss."""
    groups = by_title(runs)
    first = next(iter(groups.values()))
    rows = {
        "*raw pixels, no network*": [run.raw_pixels for run in first],
        "*before training*": [run.before for run in first],
        **{title: [run.after for run in group] for title, group in groups.items()},
    }
    seconds = {title: statistics.mean(run.seconds for run in group) for title, group in groups.items()}
    names = [name for name in COLUMNS if name in first[0].before]
    cells = [["unseen classes", *(COLUMNS[name] for name in names), "training (CPU s)"]]
    for title, points in rows.items():
        values = [spread([point[name] for point in points], percent="%" in COLUMNS[name]) for name in names]
        cells.append([title, *values, f"{seconds[title]:.1f}" if title in seconds else ""])
    return aligned(cells)


def noise_table(clean: Sequence[Run], noisy: Sequence[Run]) -> str:
    """Markdown: Recall@1 of each loss with clean labels and with flipped ones, and what is left of it."""
    cells = [["Recall@1 (%)", "clean labels", "flipped labels", "share kept (%)"]]
    kept = by_title(clean)
    for title, group in by_title(noisy).items():
        values, base = ([run.after["recall_at_1"] for run in runs] for runs in (group, kept[title]))
        shares = [value / start for value, start in zip(values, base, strict=True)]
        cells.append([title, spread(base, percent=True), spread(values, percent=True), spread(shares, percent=True)])
    return aligned(cells)


def batch_table(runs: Sequence[Run]) -> str:
    """Markdown: Recall@1 of each loss by batch size."""
    sizes = sorted({run.job.batch for run in runs})
    cells = [["Recall@1 (%)", *(f"batches of {size}" for size in sizes)]]
    for title, group in by_title(runs).items():
        values = [[run.after["recall_at_1"] for run in group if run.job.batch == size] for size in sizes]
        cells.append([title, *(spread(value, percent=True) for value in values)])
    return aligned(cells)


def growth_table(growth: Sequence[Growth]) -> str:
    """Markdown: bytes saved for backward by number of classes, and time as a ratio to plain PyTorch in the same run."""
    classes = sorted({point.classes for point in growth})
    plain = {point.classes: point.seconds for point in growth if "plain" in point.loss}
    cells = [["saved for backward; speed", *(f"{count:,} classes" for count in classes)]]
    for loss in dict.fromkeys(point.loss for point in growth):
        points = {point.classes: point for point in growth if point.loss == loss}
        values = [
            f"{points[count].saved / 2**20:.2f} MiB; {plain[count] / points[count].seconds:.2g} x" for count in classes
        ]
        cells.append([loss, *values])
    return aligned(cells)


def spread(values: Sequence[float], *, percent: bool) -> str:
    """Mean and, from two values on, sample standard deviation."""
    scale, digits = (100, 1) if percent else (1, 2)
    text = f"{scale * statistics.mean(values):.{digits}f}"
    return f"{text} ± {scale * statistics.stdev(values):.{digits}f}" if len(values) > 1 else text


def aligned(cells: list[list[str]]) -> str:
    """A Markdown table that is readable as plain text too; the first column left, the others right."""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = ["| " + " | ".join(_pad(row, widths)) + " |" for row in cells]
    lines.insert(
        1, "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    )
    return "\n".join(lines)


def _pad(row: list[str], widths: list[int]) -> list[str]:
    return [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]


def write_json(path: Path, runs: dict[str, list[Run]], growth: Sequence[Growth], settings: dict[str, object]) -> None:
    """Every number of every run, with the settings and versions that it came from."""
    versions = {"dmlkernels": dml.__version__, "torch": torch.__version__, "python": platform.python_version()}
    document = {
        "settings": settings,
        "versions": versions,
        "runs": {name: [asdict(run) for run in group] for name, group in runs.items()},
        "growth": [asdict(point) for point in growth],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
