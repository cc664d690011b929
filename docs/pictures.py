"""Draw the pictures of the pages about losses, from the losses themselves: ``python docs/pictures.py``.

Each shows the value of a loss and what a gradient step does, of which scores, in a problem that fits on a line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from torch import Tensor

import dmlkernels as dml

FOLDER = Path(__file__).parent / "images"
INK, COLOURS = "#808890", ("#e8663c", "#4f8fdd", "#2fa37c", "#b06fd8", "#d19a00")
STYLE: Any = {
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none", "legend.frameon": False,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
    "legend.labelcolor": INK, "grid.color": INK, "grid.alpha": 0.25, "axes.grid": True, "font.size": 9,
    "axes.spines.top": False, "axes.spines.right": False, "lines.linewidth": 2, "axes.prop_cycle": plt.cycler(
        color=COLOURS), "legend.fontsize": 8,
}  # fmt: skip

Curve = tuple[str, Tensor, Tensor]


def at_angle(degrees: Tensor) -> Tensor:  # (N,) -> (N, 2)
    angle = torch.deg2rad(degrees)
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def along(degrees: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """The loss of one sample at each of these angles, the proxy of its class being at 0."""
    return torch.stack([loss(at_angle(angle[None])) for angle in degrees])


def panel(axis: Any, curves: Iterable[Curve], x: str, y: str, title: str) -> None:
    for name, horizontal, vertical in curves:
        axis.plot(horizontal, vertical, label=name)
    axis.set(xlabel=x, ylabel=y)
    axis.set_title(title, fontsize=9)
    axis.legend()


def softmax_family(axes: Any) -> None:
    degrees, labels, proxies = torch.linspace(0.0, 180.0, 181), torch.tensor([0]), at_angle(torch.tensor([0.0, 180.0]))
    for scale, axis in zip((20.0, 64.0), axes, strict=True):
        losses = {
            "normalised softmax": lambda x: dml.normalized_softmax_loss(x, labels, proxies, scale=scale),  # noqa: B023
            "CosFace, 0.35": lambda x: dml.cosface_loss(x, labels, proxies, scale=scale),  # noqa: B023
            "ArcFace, 0.5": lambda x: dml.arcface_loss(x, labels, proxies, scale=scale),  # noqa: B023
            "Proxy-NCA without positive": lambda x: dml.proxy_nca_loss(
                x, labels, proxies, scale=scale, include_positive=False  # noqa: B023
            ),
        }  # fmt: skip
        curves = [(name, degrees, along(degrees, loss)) for name, loss in losses.items()]
        panel(axis, curves, "angle to the own proxy (degrees), other proxy at 180", "loss", f"scale {scale:g}")


def proxy_anchor(axes: Any) -> None:
    """The second proxy is orthogonal to every sample, so that only the score with the first one changes."""
    cosine = torch.linspace(-0.99, 0.99, 199)
    samples = torch.stack([cosine, (1 - cosine**2).sqrt(), torch.zeros_like(cosine)], dim=1)
    proxies = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    for alpha, axis in zip((8.0, 32.0), axes, strict=True):
        curves = []
        for name, label in (("own class", 0), ("another class", 1)):
            losses = [dml.proxy_anchor_loss(x[None], torch.tensor([label]), proxies, alpha=alpha) for x in samples]
            (slope,) = torch.gradient(torch.stack(losses), spacing=(cosine,))
            curves.append((name, cosine, slope))
        panel(axis, curves, "cosine with the proxy", "slope of the loss", f"alpha {alpha:g}, margin 0.1")


def decidability(axes: Any) -> None:
    gap = torch.linspace(-0.2, 1.0, 241)

    def value(form: str, gap: float, spread: float) -> float:
        """Two genuine and two impostor scores with that gap and that standard deviation in each set."""
        scores = torch.tensor([gap + spread, gap - spread, spread, -spread], dtype=torch.float64)
        x = torch.stack([scores[:2], (1 - scores[:2] ** 2).clamp_min(0).sqrt()], 1)
        other = torch.stack([scores[2:], (1 - scores[2:] ** 2).sqrt()], 1)
        vectors = torch.cat([x, other])
        anchor = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
        return dml.pd_loss(
            anchor, torch.tensor([0]), vectors, proxy_labels=torch.tensor([0, 0, 1, 1]), form=form
        ).item()

    for spread, axis in zip((0.1, 0.02), axes, strict=True):
        inside = gap[gap + spread <= 1]
        curves = [(f'"{form}"', inside, torch.tensor([value(form, g.item(), spread) for g in inside]))
                  for form in ("neg_log", "neg", "inverse")]  # fmt: skip
        panel(axis, curves, "gap = mean genuine - mean impostor", "loss", f"standard deviation {spread:g} in each set")
        axis.set_ylim(-12, 24)


def potential_field(axes: Any) -> None:
    distance = torch.linspace(0.01, 1.0, 400)
    points = torch.stack([distance, torch.zeros_like(distance)], dim=1)
    source, label = torch.zeros(1, 2), torch.tensor([0])
    curves: list[list[Curve]] = [[], []]
    for alpha in (1.0, 3.0, 6.0):
        for name, own in (("same class", 0), ("different class", 1)):
            labels = torch.full((len(points),), own)
            potential, force = dml.potential_field(
                points, labels, source, label, alpha=alpha, delta_att=0.2, delta_rep=0.2, normalize=False
            )
            if alpha == 3.0 or own == 0:
                curves[0].append((f"{name}, alpha {alpha:g}", distance, potential))
                curves[1].append((f"{name}, alpha {alpha:g}", distance, force[:, 0]))
    panel(axes[0], curves[0], "distance to the source", "potential", "both radii 0.2, unit depth")
    panel(
        axes[1], curves[1], "distance to the source", "force (below 0: towards it)", "exactly 0 where the field is flat"
    )
    axes[0].set_ylim(-1.2, 5)
    axes[1].set_ylim(-32, 60)


def soft_triple(axes: Any) -> None:
    degrees, labels = torch.linspace(-90.0, 180.0, 271), torch.tensor([0])
    for gamma, axis in zip((0.1, 1.0), axes, strict=True):
        curves = []
        for apart in (0.0, 45.0, 90.0):
            centers = at_angle(torch.tensor([0.0, apart, 180.0, 180.0]))

            def loss(x: Tensor, centers: Tensor = centers, gamma: float = gamma) -> Tensor:
                return dml.soft_triple_loss(
                    x, labels, centers, centers_per_class=2, scale=5.0, gamma=gamma, tau=0.0, margin=0.01
                )

            curves.append((f"second centre at {apart:g}", degrees, along(degrees, loss)))
        panel(axis, curves, "angle of the sample (degrees), first centre at 0", "loss", f"gamma {gamma:g}, scale 5")


def couce(axes: Any) -> None:
    degrees = torch.linspace(0.0, 180.0, 181)
    atom = at_angle(torch.tensor([0.0]))
    penalty = along(degrees, lambda x: dml.odba_penalty(x, atom))
    panel(axes[0], [("ODBA", degrees, penalty)], "angle to the only atom (degrees)", "penalty", "background dictionary")
    proxies, first = at_angle(torch.tensor([0.0, 60.0, 120.0])), at_angle(torch.tensor([30.0]))
    curves = []
    for temperature in (0.1, 0.3, 1.0):

        def loss(x: Tensor, temperature: float = temperature) -> Tensor:
            return dml.symmetric_kl_loss(first, x, proxies, temperature=temperature)

        curves.append((f"temperature {temperature:g}", degrees, along(degrees, loss)))
    panel(axes[1], curves, "angle of the second view, first at 30", "loss", "invariance; proxies at 0, 60 and 120")
    axes[1].set_yscale("symlog", linthresh=0.1)


def memory(axes: Any) -> None:
    """From ``dmlkernels.estimate``: bytes beyond the inputs and gradients, against one dense matrix."""
    from dmlkernels.estimate import Sizes, estimate

    classes = [10**power for power in range(2, 7)]
    for batch, axis in zip((128, 1024), axes, strict=True):
        found = {name: [estimate(function, Sizes(batch, count, 128), "torch") for count in classes]
                 for name, function in (("PD-Loss", dml.pd_loss), ("softmax", dml.normalized_softmax_loss),
                                        ("Proxy-Anchor", dml.proxy_anchor_loss))}  # fmt: skip
        for name, estimates in found.items():
            axis.loglog(classes, [(e.saved + e.work) / 2**20 for e in estimates], marker="o", markersize=4, label=name)
        dense = [3 * e.dense / 2**20 for e in found["softmax"]]
        axis.loglog(classes, dense, marker="o", markersize=4, label="three B x C matrices", linestyle="--")
        axis.set(xlabel="classes", ylabel="MiB beyond inputs and gradients")
        axis.set_title(f"batch {batch}, 128 dimensions", fontsize=9)
        axis.legend()


PICTURES: dict[str, Callable[[Any], None]] = {
    "loss-decidability.png": decidability,
    "loss-potential-field.png": potential_field,
    "loss-softmax.png": softmax_family,
    "loss-proxy-anchor.png": proxy_anchor,
    "loss-soft-triple.png": soft_triple,
    "loss-couce.png": couce,
    "memory.png": memory,
}


def draw(names: Iterable[str] = PICTURES, folder: Path = FOLDER) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    with plt.rc_context(STYLE):
        for name in names:
            figure, axes = plt.subplots(1, 2, figsize=(9, 3.2))
            PICTURES[name](axes)
            figure.tight_layout()
            figure.savefig(folder / name, dpi=90, transparent=True)
            plt.close(figure)


if __name__ == "__main__":
    draw()
