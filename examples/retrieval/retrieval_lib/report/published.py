"""The papers' numbers beside ours, where ours were made under the same conditions."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retrieval_lib.report.numbers import Results, by_batch_size, spread

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLE = Path(__file__).parents[2] / "published.toml"
NOT_RUN = "not run here"
METRICS = {"recall_at_1": "R@1 (%)", "map_at_r": "MAP@R (%)"}


def published_rows(layout: str) -> list[dict[str, Any]]:
    """Of a data set."""
    return [row for row in tomllib.loads(TABLE.read_text(encoding="utf-8"))["result"] if row["data"] == layout]


def comparison(results: Results) -> list[list[str]]:
    """Rows of a table: method, backbone, setting, published numbers, ours, where they are known from."""
    config = results[0]["config"]
    rows = []
    for row in published_rows(config["data"]["layout"]):
        noise = row.get("label_noise", 0.0)
        rows.append(
            [
                row["method"],
                row["backbone"],
                f"{100 * noise:.0f}% of labels flipped" if noise else "",
                *(_published(row, name) for name in METRICS),
                _ours(row, results),
                row["source"],
            ]
        )
    return rows


def obstacles(results: Results) -> list[str]:
    """Why our numbers may not stand beside the published ones."""
    first, found = results[0], []
    if not first["task"]["official"]:
        sizes = " + ".join(f"{size:,}" for size in first["task"]["sizes"])
        found.append(f"the data are not the whole published data set (here {sizes} images)")
    if first["warning"]:
        found.append(first["warning"])
    elif not first["config"]["model"]["weights"]:
        found.append("the backbone was not pretrained (model.weights is empty)")
    return found


def _published(row: dict[str, Any], metric: str) -> str:
    if metric not in row:
        return ""
    deviation = f" ± {row['spread']}" if metric == "recall_at_1" and "spread" in row else ""
    return f"{row[metric]}{deviation}"


def _ours(row: dict[str, Any], results: Results) -> str:
    config = results[0]["config"]
    same = (
        row.get("paper") == config["paper"]
        and row.get("model") == config["model"]["backbone"]
        and row.get("embedding_size") == config["model"]["embedding_size"]
        and row.get("label_noise", 0.0) == config["data"]["label_noise"]
    )
    if not same or obstacles(results):
        return NOT_RUN
    return "; ".join(_one_size(size, group) for size, group in by_batch_size(results).items())


def _one_size(size: int, group: Sequence[dict[str, Any]]) -> str:
    names = [name for name in METRICS if name in group[0]["final"]]
    parts = [f"{METRICS[name][:-4]} {spread([one['final'][name] for one in group], name)}" for name in names]
    return f"{', '.join(parts)} (batch size {size}, {len(group)} run{'s' * (len(group) > 1)})"
