"""Pictures of the data and of the runs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from digits_lib.data import digits_task
from digits_lib.report import by_title
from digits_lib.training import Run

GENUINE, IMPOSTOR = "#0072b2", "#d55e00"
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999", "#7f3c8d")


def draw_images(path: Path) -> None:
    """What the networks get to see."""
    rows = (("black", 0, "training"), ("black", 1, "test"), ("confounded", 0, "training"), ("confounded", 1, "test"))
    figure, axes = plt.subplots(len(rows), 1, figsize=(10, 3.1), layout="constrained")
    for axis, (background, part, name) in zip(axes, rows, strict=True):
        split = digits_task(0, background)[part]
        images = split.paint(torch.Generator().manual_seed(0))[:, 0]
        chosen = torch.cat([(split.labels == label).nonzero()[:3, 0] for label in split.labels.unique()])
        strip = F.pad(images[chosen], (1, 1), value=1.0)  # (15, SIDE, SIDE + 2), a white line between neighbours
        axis.imshow(torch.cat(tuple(strip), dim=1), cmap="gray", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        axis.set_ylabel(f"{name},\n{background}", rotation=0, ha="right", va="center")
    finish(figure, path)


def draw_scores(runs: Sequence[Run], path: Path) -> None:
    """Genuine and impostor scores before and after training, of the first seed."""
    groups = by_title(runs)
    columns = min(4, len(groups) + 1)
    lines = -(-(len(groups) + 1) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(3 * columns, 2.4 * lines + 0.4), layout="constrained", squeeze=False
    )
    first = [group[0] for group in groups.values()]
    panels = [("Before training", first[0].scores_before, first[0].before)]
    panels += [(title, run.scores_after, run.after) for title, run in zip(groups, first, strict=True)]
    for axis, (title, scores, found) in zip(axes.flat, panels, strict=False):
        for name, colour in (("genuine", GENUINE), ("impostor", IMPOSTOR)):
            axis.stairs(scores[name], scores["edges"], fill=True, color=colour, alpha=0.45, label=name)
            axis.stairs(scores[name], scores["edges"], color=colour)
        axis.set(title=f"{title}\nd' = {found['decidability']:.2f}", yticks=[], xlim=(scores["edges"][0], 1))
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    axes[0, 0].legend(loc="upper left", frameon=False)
    figure.supxlabel("cosine of two images of unseen digits (every panel has its own scale)", fontsize="medium")
    finish(figure, path)


def draw_curves(runs: Sequence[Run], path: Path) -> None:
    """Metrics of the unseen classes against epochs, mean over the seeds."""
    names = {"recall_at_1": "Recall@1 (%)", "map_at_r": "MAP@R (%)", "decidability": "d'"}
    figure, axes = plt.subplots(1, len(names), figsize=(12, 3.8), layout="constrained")
    for axis, (name, label) in zip(axes, names.items(), strict=True):
        scale = 100 if "%" in label else 1
        for (title, group), colour in zip(by_title(runs).items(), LINES, strict=False):
            epochs = [point["epoch"] for point in group[0].curve]
            values = np.array([[scale * point[name] for point in run.curve] for run in group])
            axis.plot(epochs, values.mean(0), color=colour, label=title, marker="o", markersize=3)
        axis.set(title=label, xlabel="epoch", xticks=epochs)
        quiet(axis)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    finish(figure, path)


def draw_confounder(runs: Sequence[Run], path: Path) -> None:
    """Every seed as a dot: retrieval of unseen digits, and of backgrounds."""
    names = {"recall_at_1": "Recall@1 (%)", "map_at_r": "MAP@R (%)", "same_background_at_1": "same background@1 (%)"}
    wanted = ("more is better", "more is better", "less is better, 20 is chance")
    groups = by_title(runs)
    figure, axes = plt.subplots(1, len(names), figsize=(11, 2.8), layout="constrained", sharey=True)
    rows = {"before training": [run.before for run in next(iter(groups.values()))]}
    rows |= {title: [run.after for run in group] for title, group in groups.items()}
    for axis, (name, label), hint in zip(axes, names.items(), wanted, strict=True):
        for place, points in enumerate(rows.values()):
            values = [100 * point[name] for point in points]
            axis.plot(values, [place] * len(values), "o", color=GENUINE, alpha=0.6)
            axis.plot([statistics.mean(values)], [place], "|", color="black", markersize=16)
        axis.set(title=f"{label}\n{hint}", yticks=range(len(rows)), yticklabels=rows, ylim=(len(rows) - 0.5, -0.5))
        quiet(axis)
    finish(figure, path)


def quiet(axis: Axes) -> None:
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def finish(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=100)
    plt.close(figure)
