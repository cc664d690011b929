"""Picture of the potential field over a two-dimensional embedding."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.contour import ContourSet
from torch import Tensor

import dmlkernels as dml
from digits_lib.data import Split, instances
from digits_lib.evaluation import embed
from digits_lib.network import ConvNet
from digits_lib.objectives import Objective
from digits_lib.pictures import LINES, finish
from digits_lib.training import Job, fit

CLASSES = 5
FELT_BY = 0  # the class whose field is shown
DRAWS = 5  # of VIEWS views of each class
SEED = 2  # where the classes end on the circle depends on it
EXTENT = 1.35  # of the plane around the unit circle
STEPS = 181  # of the potential's grid
LEVELS = (-300, -100, -30, -10, -3, 3, 10, 30, 100, 300)


def draw_field(path: Path, *, epochs: int) -> None:
    """The field of an embedding on the circle, before and after training.

    Trained by D-Loss: on a circle, unlike in more dimensions, a point cannot get around the hill of another class, so
    that the potential field itself could not sort them.
    """
    split = Split(instances(0)[0].ink[:CLASSES].repeat_interleave(DRAWS, dim=0), "black")
    images, labels = split.views(torch.Generator().manual_seed(1))[0], split.labels // DRAWS
    torch.manual_seed(SEED)
    network = ConvNet(2)
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.6), layout="constrained")
    draw_panel(axes[0], embed(network, images), labels, "Before training")
    job = Job("d", 0, epochs, batch=len(labels) // 10)
    for _ in fit(network, Objective(dml.DecidabilityLoss()), split, labels, job):
        pass
    picture = draw_panel(axes[1], embed(network, images), labels, f"After {epochs} epochs of D-Loss")
    label = f"potential that class {FELT_BY} feels;\narrows: force on it (logarithmic length)"
    figure.colorbar(picture, ax=axes, shrink=0.85, label=label, ticks=LEVELS, format="%d")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=CLASSES, frameon=False)
    finish(figure, path)


def draw_panel(axis: Axes, embeddings: Tensor, labels: Tensor, title: str) -> ContourSet:
    """Embeddings on the circle and, around them in the plane, the field that FELT_BY feels."""
    points = F.normalize(embeddings)
    places, potential, _ = field_on_grid(points, labels, STEPS)
    far_hills = float((labels != FELT_BY).sum())  # a constant: hills are flat at a height of 1 beyond their radius
    across, up, height = (value.reshape(STEPS, STEPS) for value in (*places.T, potential - far_hills))
    norm = SymLogNorm(linthresh=LEVELS[len(LEVELS) // 2], vmin=LEVELS[0], vmax=LEVELS[-1])
    picture = axis.contourf(across, up, height, LEVELS, norm=norm, cmap="RdBu_r", extend="both", alpha=0.85)
    grid, _, force = field_on_grid(points, labels, 27)
    strength = force.norm(dim=1, keepdim=True)
    arrows = F.normalize(force) * (1 + strength).log()
    axis.quiver(*grid.T, *arrows.T, color="0.2", width=0.0022, scale=180)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))  # so that no class hides the others
    x, y = points[order].T
    axis.scatter(x, y, c=[LINES[label] for label in labels[order]], s=36, edgecolors="white", zorder=2)
    for label in range(CLASSES):
        axis.scatter([], [], color=LINES[label], s=36, label=f"class {label}")
    axis.set(title=title, xticks=[], yticks=[], aspect="equal", xlim=(-EXTENT, EXTENT), ylim=(-EXTENT, EXTENT))
    return picture


def field_on_grid(points: Tensor, labels: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Places (steps^2, 2), and the potential and force that the points make there for FELT_BY."""
    line = torch.linspace(-EXTENT, EXTENT, steps)
    grid = torch.cartesian_prod(line, line)
    felt_by = torch.full((len(grid),), FELT_BY)
    return grid, *dml.potential_field(grid, felt_by, points, labels, normalize=False)
