"""Pictures of the data and of the runs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import torch
import torch.nn.functional as F

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from digits_lib.data import VIEWS, instances
from digits_lib.evaluation import SHOWN
from digits_lib.growth import Growth
from digits_lib.report import by_title
from digits_lib.training import Run

GENUINE, IMPOSTOR = "#0072b2", "#d55e00"
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999", "#7f3c8d")


def draw_images(path: Path) -> None:
    """What the networks get to see: all views of some classes."""
    rows = (("black", 0, "training"), ("black", 1, "test"), ("confounded", 0, "training,\nconfounded"))
    figure, axes = plt.subplots(len(rows), 1, figsize=(10, 5.2), layout="constrained")
    for axis, (background, part, name) in zip(axes, rows, strict=True):
        split = instances(0, background)[part]
        images = split.views(torch.Generator().manual_seed(0))[0][:, 0]
        chosen = [images[split.labels == label] for label in (0, 1, 2)]
        strips = [torch.cat(tuple(F.pad(views, (1, 1, 1, 1), value=0.6)), dim=1) for views in chosen]
        axis.imshow(torch.cat(strips, dim=0), cmap="gray", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
    axes[0].set_title(f"{VIEWS} views (columns) of three classes (rows of each block)", fontsize="medium")
    finish(figure, path)


def draw_losses(clean: Sequence[Run], noisy: Sequence[Run], path: Path) -> None:
    """Recall@1 of unseen classes for each loss, with clean and with flipped labels; every seed a dot."""
    groups, flipped = by_title(clean), by_title(noisy)
    first = next(iter(groups.values()))
    rows = {"raw pixels": [run.raw_pixels for run in first], "before training": [run.before for run in first]}
    rows |= {title: [run.after for run in group] for title, group in groups.items()}
    figure, axis = plt.subplots(figsize=(8.5, 3.6), layout="constrained")
    for place, points in enumerate(rows.values()):
        dots(axis, [100 * point["recall_at_1"] for point in points], place, GENUINE)
    for place, title in enumerate(rows):
        if title in flipped:
            dots(axis, [100 * run.after["recall_at_1"] for run in flipped[title]], place + 0.25, IMPOSTOR)
    axis.plot([], [], "o", color=GENUINE, label="clean labels")
    axis.plot([], [], "o", color=IMPOSTOR, label="20% of the labels flipped")
    axis.set(xlabel="Recall@1 of unseen classes (%)", yticks=range(len(rows)), yticklabels=rows, xlim=(0, None))
    axis.invert_yaxis()
    axis.legend(frameon=False)
    quiet(axis)
    finish(figure, path)


def draw_scores(runs: Sequence[Run], path: Path) -> None:
    """Genuine and impostor scores before and after training, of the first seed, on one scale."""
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
        axis.set(title=f"{title}\nd' = {found['decidability']:.2f}", yticks=[], xlim=SHOWN)
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    axes[0, 0].legend(loc="upper right", frameon=False)
    label = "cosine of two views of unseen classes, in standard deviations of impostor scores from their mean"
    figure.supxlabel(label, fontsize="medium")
    finish(figure, path)


def draw_batches(runs: Sequence[Run], path: Path) -> None:
    """Recall@1 against the batch size, mean and standard deviation over the seeds."""
    figure, axis = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
    sizes = sorted({run.job.batch for run in runs})
    for (title, group), colour in zip(by_title(runs).items(), LINES, strict=False):
        values = [[100 * run.after["recall_at_1"] for run in group if run.job.batch == size] for size in sizes]
        errors = [statistics.stdev(value) if len(value) > 1 else 0.0 for value in values]
        means = [statistics.mean(value) for value in values]
        axis.errorbar(sizes, means, errors, color=colour, label=title, marker="o", capsize=4)
    axis.set(xlabel="samples in a batch", ylabel="Recall@1 (%)", xscale="log", ylim=(0, None))
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.minorticks_off()
    axis.legend(frameon=False)
    quiet(axis)
    finish(figure, path)


def draw_growth(growth: Sequence[Growth], path: Path) -> None:
    """Bytes saved for backward, and time of a step as a ratio, against the number of classes."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    plain = {point.classes: point.seconds for point in growth if "plain" in point.loss}
    for loss, colour in zip(dict.fromkeys(point.loss for point in growth), LINES, strict=False):
        points = [point for point in growth if point.loss == loss]
        classes = [point.classes for point in points]
        axes[0].plot(classes, [point.saved / 2**20 for point in points], color=colour, marker="o", label=loss)
        axes[1].plot(classes, [point.seconds / plain[point.classes] for point in points], color=colour, marker="o")
    axes[1].set_ylim(0.05, 2)
    axes[0].set(title="saved for backward (MiB)", xlabel="classes", xscale="log", yscale="log")
    axes[1].set(title="time of a step, plain PyTorch = 1", xlabel="classes", xscale="log", yscale="log")
    for axis in axes:
        quiet(axis)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    finish(figure, path)


def draw_confounder(runs: Sequence[Run], path: Path) -> None:
    """Every seed as a dot: retrieval of unseen classes, and of backgrounds."""
    names = {"recall_at_1": "Recall@1 (%)", "map_at_r": "MAP@R (%)", "same_background_at_1": "same background@1 (%)"}
    wanted = ("more is better", "more is better", "less is better, 20 is chance")
    groups = by_title(runs)
    figure, axes = plt.subplots(1, len(names), figsize=(11, 2.8), layout="constrained", sharey=True)
    rows = {"before training": [run.before for run in next(iter(groups.values()))]}
    rows |= {title: [run.after for run in group] for title, group in groups.items()}
    for axis, (name, label), hint in zip(axes, names.items(), wanted, strict=True):
        for place, points in enumerate(rows.values()):
            dots(axis, [100 * point[name] for point in points], place, GENUINE)
        axis.set(title=f"{label}\n{hint}", yticks=range(len(rows)), yticklabels=rows, ylim=(len(rows) - 0.5, -0.5))
        quiet(axis)
    finish(figure, path)


def dots(axis: Axes, values: Sequence[float], place: float, colour: str) -> None:
    """Values as dots on a line, and their mean as a stroke."""
    axis.plot(values, [place] * len(values), "o", color=colour, alpha=0.6)
    axis.plot([statistics.mean(values)], [place], "|", color="black", markersize=14)


def quiet(axis: Axes) -> None:
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def finish(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=90)
    plt.close(figure)
