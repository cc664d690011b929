"""Pictures of growth, readable on light and on dark pages: transparent, in colours that stand out from both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness.fitting import exponent
from benchmarks.harness.records import Record
from benchmarks.harness.steps import BOTH
from benchmarks.reporting.markdown import measurements

_BARS_SHAPE = "faces128"
INK = "#808890"  # contrast above 3 with white and with GitHub's dark grey
COLOURS = {
    "ours, native": "#e8663c",
    "ours, torch": "#d19a00",
    "ours, triton": "#e8663c",
    "reference": "#4f8fdd",
    "plain PyTorch": "#2fa37c",
    "pytorch-metric-learning": "#b06fd8",
}
STYLE: Any = {
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none", "legend.frameon": False,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
    "legend.labelcolor": INK, "grid.color": INK, "grid.alpha": 0.25, "axes.grid": True, "font.size": 11,
    "axes.spines.top": False, "axes.spines.right": False, "lines.linewidth": 2, "figure.dpi": 110,
}  # fmt: skip


def draw(records: Sequence[Record], folder: Path, prefix: str) -> Iterator[Path]:
    """One of a few cases beside others' code; one per loss, a column per axis, time above memory; one of the field
    against training."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    growth = [record for record in records if record["kind"] == "growth" and "median_s" in record]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(10, 3.4), sharey=True)
        if _bars(axes, records):
            yield save(figure, folder / f"{prefix}-highlights.png")
        plt.close(figure)
        for loss in dict.fromkeys(record["loss"] for record in growth):
            of_loss = [record for record in growth if record["loss"] == loss and record["axis"] != "progress"]
            sweeps = list(dict.fromkeys(record["sweep"] for record in of_loss))
            least = min(record["median_s"] for record in of_loss)
            figure, axes = plt.subplots(2, len(sweeps), figsize=(4.6 * len(sweeps), 7), squeeze=False)
            for column, sweep in enumerate(sweeps):
                found = [record for record in of_loss if record["sweep"] == sweep]
                _lines(axes[0][column], found, "median_s", least, "time, the least = 1" if column == 0 else "")
                _lines(axes[1][column], found, "extra_bytes", 2**20, "extra MiB" if column == 0 else "")
                axes[0][column].set_title(sweep.replace("against", "vs"), fontsize=11)
                axes[1][column].set_xlabel(found[0]["axis"])
            yield save(figure, folder / f"{prefix}-growth-{loss}.png")
            plt.close(figure)
        progress = [record for record in growth if record["axis"] == "progress"]
        if progress:
            figure, axes = plt.subplots(1, 2, figsize=(10, 3.8))
            _training(axes, progress)
            yield save(figure, folder / f"{prefix}-field-training.png")
            plt.close(figure)


def accuracy(
    results: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], noise: Sequence[float], path: Path
) -> None:
    """A panel per loss: errors of gradients, and dotted of values, against noise, the end of training on the right."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns, names = 5, {}
    with plt.rc_context(STYLE | {"font.size": 9, "lines.linewidth": 1.5}):
        rows = -(-len(results) // columns)
        figure, axes = plt.subplots(rows, columns, figsize=(12, 2.5 * rows), sharex=True, sharey=True, squeeze=False)
        for axis, (loss, variants) in zip(axes.flat, results.items(), strict=False):
            for variant, errors in variants.items():
                colour = COLOURS["reference" if not variant.startswith("ours") else ", ".join(variant.split(", ")[:2])]
                marker = "s" if "closed" in variant else "o"
                for place, style in enumerate((":", "-")):
                    values = [max(error[place], 1e-9) for error in errors]
                    (line,) = axis.loglog(noise, values, style, color=colour, marker=marker, markersize=3)
                names[variant] = line
            axis.set_title(loss.replace("_", " "), fontsize=9)
        axes[0][0].invert_xaxis()
        for axis in axes.flat[len(results) :]:
            axis.set_axis_off()
        legend = axes.flat[-1] if len(results) < axes.size else axes.flat[0]
        legend.legend(names.values(), names.keys(), fontsize=8, loc="center")
        for axis in axes[-1][: len(results) - columns * (rows - 1)]:
            axis.set_xlabel("noise")
        for axis in axes[:, 0]:
            axis.set_ylabel("error")
        save(figure, path)
        plt.close(figure)


def _bars(axes: Any, records: Sequence[Record]) -> bool:
    """Draw ours, plain PyTorch and pytorch-metric-learning at one large shape, if that was measured."""
    compared = ("plain PyTorch", "pytorch-metric-learning")
    losses: dict[str, tuple[Record, dict[str, Record]]] = {}
    for found in measurements(records):
        members = {record["variant"]: record for record in found if "median_s" in record and record["extra_bytes"]}
        mine = next((record for record in members.values() if record["default"]), None)
        if mine and mine["mode"] == BOTH and mine["shape"]["name"] == _BARS_SHAPE and compared[0] in members:
            losses[mine["loss"]] = mine, members
    order = list(losses)[::-1]
    for row, loss in enumerate(order):
        mine, members = losses[loss]
        bars = [("ours", mine), *((name, members[name]) for name in compared if name in members)]
        for place, (name, record) in enumerate(bars):
            colour = COLOURS["ours, native" if name == "ours" else name]
            values = (record["median_s"] / mine["median_s"], record["extra_bytes"] / 2**20)
            for axis, value, unit in zip(axes, values, ("x", " MiB"), strict=True):
                axis.barh(row - 0.27 * (place - 1), value, 0.25, color=colour, label=name if row == 0 else None)
                shown = f" {value:,.0f}{unit}" if value >= 100 else f" {value:.3g}{unit}"
                axis.text(value, row - 0.27 * (place - 1), shown, va="center", fontsize=7)
    if not order:
        return False
    axes[0].set_yticks(range(len(order)), [loss.replace("_", " ") for loss in order], fontsize=9)
    shape = losses[order[0]][0]["shape"]
    axes[0].set_title(f"time of a step, ours = 1 (batch {shape['batch']})", fontsize=10)
    axes[1].set_title(f"extra memory, {shape['proxies']:,} x {shape['dim']} proxies", fontsize=10)
    for axis in axes:
        axis.grid(False)
        axis.margins(x=0.18)
        axis.set_xticks([])
        axis.spines["bottom"].set_visible(False)
    axes[1].legend(fontsize=8, loc="lower right")
    return True


def _lines(axis: Any, records: Sequence[Record], key: str, scale: float, label: str) -> None:
    """Log-log, with the fitted exponent (the smallest size left out) in the legend."""
    for variant in dict.fromkeys(record["variant"] for record in records):
        found = [record for record in records if record["variant"] == variant and record[key]]
        sizes, values = [record["value"] for record in found], [record[key] / scale for record in found]
        name = f"{variant}  ^{exponent(sizes[1:], values[1:]):.2f}"
        axis.loglog(sizes, values, marker="o", markersize=4, color=COLOURS.get(variant, INK), label=name)
    ticks = sorted({record["value"] for record in records})
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_xticks([], minor=True)
    axis.set_ylabel(label)
    axis.legend(fontsize=8)


def _training(axes: Any, records: Sequence[Record]) -> None:
    least = min(record["median_s"] for record in records)
    for variant in dict.fromkeys(record["variant"] for record in records):
        found = [record for record in records if record["variant"] == variant]
        axes[0].plot(
            [record["value"] for record in found], [record["median_s"] / least for record in found],
            marker="o", markersize=4, color=COLOURS.get(variant, INK), label=variant,
        )  # fmt: skip
    shares = {record["value"]: 100 * record["skipped"] for record in records}
    axes[1].plot(list(shares), list(shares.values()), marker="o", markersize=4, color=COLOURS["ours, native"])
    for axis, label in zip(axes, ("time, the least = 1", "% of the tiles skipped in backward"), strict=True):
        axis.set_xlabel("training: all points together (0), classes apart (1)")
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
    axes[0].legend(fontsize=8)


def save(figure: Any, path: Path) -> Path:
    figure.tight_layout()
    figure.savefig(path, transparent=True)
    return path
