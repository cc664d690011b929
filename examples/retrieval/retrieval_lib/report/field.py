"""Picture of the potential field over a projection of test embeddings to the plane."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from matplotlib.colors import SymLogNorm

import dmlkernels as dml
from retrieval_lib.report.pictures import COLOURS, png

EXTENT = 1.25  # of the plane; the points are within the unit circle
FINE, COARSE = 161, 25  # points of a side of the potential's and of the forces' grid
LEVELS = (-100, -30, -10, -3, -1, 1, 3, 10, 30, 100)


def field(projection: dict[str, Any], options: dict[str, Any]) -> str:
    """The potential that the first class feels, and the force on it.

    Args:
        projection: points, their labels.
        options: of the loss; alpha and the radii where it is the potential field, else the defaults.
    """
    points, labels = torch.tensor(projection["points"]), torch.tensor(projection["labels"])
    felt_by = int(labels[0])
    shape = {name: options[name] for name in ("alpha", "delta_att", "delta_rep") if name in options}

    def felt(steps: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        line = torch.linspace(-EXTENT, EXTENT, steps)
        grid = torch.cartesian_prod(line, line)
        at_grid = torch.full((len(grid),), felt_by)
        return grid, *dml.potential_field(grid, at_grid, points, labels, normalize=False, **shape)

    grid, potential, _ = felt(FINE)
    across, up, height = (value.reshape(FINE, FINE) for value in (*grid.T, potential - potential.median()))
    figure, axis = plt.subplots(figsize=(6.6, 5.4), layout="constrained")
    norm = SymLogNorm(linthresh=1, vmin=LEVELS[0], vmax=LEVELS[-1])
    picture = axis.contourf(across, up, height, LEVELS, norm=norm, cmap="RdBu_r", extend="both", alpha=0.85)
    grid, _, force = felt(COARSE)
    strength = force.norm(dim=1, keepdim=True)
    arrows = F.normalize(force) * (1 + strength).log()
    axis.quiver(*grid.T, *arrows.T, color="0.25", width=0.002, scale=140)
    for colour, label in zip(COLOURS, dict.fromkeys(labels.tolist()), strict=False):
        x, y = points[labels == label].T
        axis.scatter(x, y, color=colour, s=30, edgecolors="white", linewidths=0.7, label=f"class {label}", zorder=2)
    axis.set(xticks=[], yticks=[], aspect="equal", xlim=(-EXTENT, EXTENT), ylim=(-EXTENT, EXTENT))
    figure.colorbar(picture, ax=axis, shrink=0.85, format="%d", label=f"potential that class {felt_by} feels")
    axis.legend(loc="upper left", bbox_to_anchor=(0, 0), ncols=4, frameon=False, fontsize="small")
    return png(figure)
