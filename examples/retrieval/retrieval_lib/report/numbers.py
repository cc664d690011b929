"""Metrics over seeds, and their names for people."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

Results = Sequence[dict[str, Any]]


def metric_names(results: Results) -> list[str]:
    """Of all runs, without those that say how sure another one is."""
    return [name for name in results[0]["final"] if not name.endswith("_standard_error")]


def title_of(metric: str) -> str:
    """recall_at_1 -> R@1 (%)."""
    known = {"map_at_r": "MAP@R (%)", "nmi": "NMI (%)", "decidability": "d'", "accuracy": "accuracy (%)"}
    return known.get(metric) or f"R@{metric.rpartition('_')[2]} (%)"


def scale_of(metric: str) -> float:
    """All but d' are shown as percentages."""
    return 1.0 if metric == "decidability" else 100.0


def spread(values: Sequence[float], metric: str) -> str:
    """Mean and, from two values on, sample standard deviation."""
    scale, digits = scale_of(metric), 2 if scale_of(metric) == 1 else 1
    text = f"{scale * statistics.mean(values):.{digits}f}"
    return f"{text} ± {scale * statistics.stdev(values):.{digits}f}" if len(values) > 1 else text


def by_batch_size(results: Results) -> dict[int, list[dict[str, Any]]]:
    """Runs that differ in their seed only."""
    groups: dict[int, list[dict[str, Any]]] = {}
    for result in results:
        groups.setdefault(result["batch_size"], []).append(result)
    return groups
